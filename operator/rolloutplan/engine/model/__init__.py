"""The data of the engine: snapshot, actions, effects, transitions, weights. Nothing here decides.

The host makes the facts and carries out the effects; the rules read snapshots and return actions.
"""
