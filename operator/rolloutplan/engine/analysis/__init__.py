"""Measurements: which queries are due, what their answers mean, what is counted.

Queries go to the metric source as effects; the verdicts made of the answers go into snapshots for the rules.
"""
