"""Pitfalls of plans, policies, templates and metric sources."""
