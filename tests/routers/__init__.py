"""One suite for every kind of route with a gateway that really runs. A new one is a Plane in PLANES of planes.py."""
