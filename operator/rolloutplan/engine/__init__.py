"""The heart: a frozen snapshot goes in, what follows from it comes out. Pure: no network, no clock, no kopf."""
