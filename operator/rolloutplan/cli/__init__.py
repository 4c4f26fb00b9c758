"""`rolloutplan`: the operator's entry point and the tools around it."""
