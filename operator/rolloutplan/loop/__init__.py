"""The host of all runs: watch -> store -> schedule -> reconcile. The engine decides; this package carries it out."""
