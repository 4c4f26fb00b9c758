"""The rules of `decide`. A rule takes a snapshot and returns a result, or None. RULES in decide.py has their order."""
