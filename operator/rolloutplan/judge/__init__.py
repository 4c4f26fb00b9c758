"""Verdicts: what an answer says about a bound. Pure."""
