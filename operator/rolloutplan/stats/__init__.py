"""Verdicts: what an answer says about a bound, and what counts prove about it. Pure, with no knowledge of plans."""
