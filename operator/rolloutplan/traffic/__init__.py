"""Weights on routes: one small file a kind of route. Pure: what to write, not the writing."""
