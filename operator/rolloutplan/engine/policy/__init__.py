"""What must hold before a run starts and before each increment. Nothing here stands in the way of a rollback."""
