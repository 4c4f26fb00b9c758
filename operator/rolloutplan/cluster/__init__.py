"""Access to the API server: a thin client, and the reading and writing of the objects that the operator needs.

`loop/watch.py` and `loop/executor.py` call it; what it reads becomes facts of the engine.
"""
