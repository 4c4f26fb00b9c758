"""How the operator tells of itself: logs, and whether it is alive and ready."""
