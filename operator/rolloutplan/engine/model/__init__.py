"""What the engine knows and what it says: snapshot, actions, effects, transitions, weights. Nothing here decides."""
