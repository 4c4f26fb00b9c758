"""The heart: from one frozen look at the world to what follows from it. Pure: no network, no clock, no kopf."""
