"""The conditions for the start of a run and for each increment. None of them affects a rollback."""
