"""The demo: a good version goes out step by step, a bad one comes back by itself. `python -m tests.demo` runs it."""

GOOD, BAD = "checkout-v2", "checkout-v3"
"""The two plans, each named as the Deployment that it brings."""
