"""Verdicts: compares an answer with a bound, and tests counts against it. Pure, with no knowledge of plans.

The answers and counts come from `engine/analysis`, which also gets the verdicts.
"""
