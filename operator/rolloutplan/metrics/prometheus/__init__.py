"""Queries Prometheus and other servers with its HTTP API: one query in, one answer out, never an exception.

The path of a query, with the module of each step:

    ValueQuery, AlertQuery, CountQuery      from the engine
      |  provider.py                        translates it to PromQL (alerts.py, counters.py)
    query, instant
      |  source.py                          merges identical queries; waits for the end of the loop's turn
    all queries of one turn, by instant
      |  batching.py                        joins them to one query: `a or b`, each labelled with its index
    batches, slow queries, and unknown ones (one of each form goes first, as a canary)
      |  threads.py                         a few threads, so that a server that hangs never blocks the loop
    HTTP request
      |  http.py                            ends in time, whatever the server does; credentials.py, address.py: to whom
    status and body
      |  response.py                        a number, counters, or a gap with the server's message
    Answer
"""
