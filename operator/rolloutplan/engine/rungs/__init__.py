"""The rungs of the ladder, a file for each sort. A rung looks, and says what follows or None."""
