"""What the operator reports about itself: logs, its own metrics, and whether it is alive and ready."""
