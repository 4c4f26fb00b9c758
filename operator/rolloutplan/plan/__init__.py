"""What people write and read: the spec of a plan, its status, the other kinds, and the CRDs made from them. No I/O."""
