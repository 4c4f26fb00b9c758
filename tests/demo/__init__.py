"""The demo: a good version goes out step by step, a bad one comes back by itself. `python -m tests.demo` runs it."""
