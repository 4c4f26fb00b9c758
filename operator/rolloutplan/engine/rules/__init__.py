"""The rules of `decide`. A rule takes a snapshot and returns what follows from it, or None. RULES has their order."""
