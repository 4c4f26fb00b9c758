"""What is generated from the code: the CRDs with their rules in CEL, the field reference, the page of all states."""
