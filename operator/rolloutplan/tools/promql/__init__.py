"""Queries in PromQL: read with places, and what they mean, may not be, and cannot work."""
