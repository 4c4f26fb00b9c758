"""The conditions for the start of a run and for each increase. None of them affects a rollback."""
