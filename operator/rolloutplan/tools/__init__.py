"""Offline tools: lint, PromQL, the timeline of a plan, the replay of a run.

They do no I/O. `cli` gives them the files and the answers, and prints what they return.
"""
