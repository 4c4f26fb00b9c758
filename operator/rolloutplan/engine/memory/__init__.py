"""What a PlanRun remembers from one look to the next and no status holds: the next leader learns it again.

Each module has one part of it, with the rules for when it counts and when it is forgotten. `PlanRun` brings facts,
results and the time.
"""
