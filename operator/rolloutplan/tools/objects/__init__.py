"""Plans compared with the objects in the same files."""
