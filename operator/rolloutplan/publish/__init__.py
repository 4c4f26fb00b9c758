"""Publishes recorded decisions: one file for each sink. base.py defines a sink; events.py writes Events.

Decisions come from `Publish` effects of the engine, through the executor.
"""
