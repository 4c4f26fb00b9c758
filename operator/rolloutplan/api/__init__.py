"""v1alpha1: what people write and read. Models of the spec and the status, and how they are parsed. No I/O."""
