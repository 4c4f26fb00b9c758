"""Rollouts of Argo and Canaries of Flagger, turned into Deployments, a plan and templates. Pure.

`argo.py` and `flagger.py` read one kind each; both build a draft (`draft.py`), with a note for whatever does not come
along as it was. `written.py` checks the draft as the operator would, and writes it with its notes.
"""
