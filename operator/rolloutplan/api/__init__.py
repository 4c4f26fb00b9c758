"""API v1alpha1: models of the spec and the status of each kind, and their parsers. No I/O."""
