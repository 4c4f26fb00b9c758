"""Asks Prometheus: one question in, one answer out, and never an exception."""
