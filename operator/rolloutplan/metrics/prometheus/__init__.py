"""Asks Prometheus, and whatever speaks its HTTP API: one question in, one answer out, and never an exception.

The way of a question, with the module that each step stands in:

    ValueQuery, AlertQuery, CountQuery      what the engine asks
      |  provider.py                        says it in PromQL (alerts.py, counters.py)
    query, instant
      |  source.py                          the same question is asked once; waits for the end of the loop's turn
    all questions of one turn, by instant
      |  batching.py                        which go as one query: `a or b`, each labelled with its place
    batches, slow ones, and unknown ones (one of each form goes ahead, as a canary)
      |  threads.py                         a few threads, so that a server that hangs never holds up the loop
    HTTP request
      |  http.py                            ends in time, whatever the server does
    status and body
      |  response.py                        a number, counters, or a gap in the server's own words
    Answer
"""
