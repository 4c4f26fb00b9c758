"""Metric sources: base.py defines the interface of a provider; each kind of source has a package beside it.

Queries come from the engine through the loop; the answers go back to it as results of effects.
"""
