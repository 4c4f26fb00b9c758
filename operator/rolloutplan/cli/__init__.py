"""`rolloutplan`: the operator's entry point and the command line tools.

Arguments and files come from the user; results are printed. Only `command.py` and the operator write to the cluster.
"""
