"""What is generated from the code: CRDs with their rules in CEL, pages of the documentation, rights, the dashboard."""
