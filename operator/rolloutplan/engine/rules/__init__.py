"""The rules of `decide`, a file for each sort. A rule looks, and says what follows or None."""
