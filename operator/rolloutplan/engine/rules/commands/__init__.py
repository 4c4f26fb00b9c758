"""Commands of a person: carried out at once, once each, and always answered.

`answer.py` reads a command and answers it; the other files have one function for each verb.
"""
