"""Metric sources: base.py says what the engine needs of one, and each kind has a package beside it."""
