"""Tests that touch nothing but a shop of their own, so that many of them can wait at the same time."""
