"""What the queues of concurrency groups come to, by a scan over all plans: loop/index.py must say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest

from rolloutplan.engine.model.policy_view import Queue, QueueEntry
from rolloutplan.engine.policy.policies import MAX_NAMED


def queues(entry: QueueEntry, others: Iterable[QueueEntry]) -> dict[str, Queue]:
    """A summary of the other plans in each of a plan's groups."""
    entries = tuple(others)
    return {group: _queue(entry, [each for each in entries if group in each.groups]) for group in entry.groups}


def _queue(entry: QueueEntry, others: list[QueueEntry]) -> Queue:
    """Places go around the namespaces, so that one of them with many plans does not take them all.

    A plan's turn is the number of places that its namespace has, and of its older plans that wait; within a turn the
    older plan goes first.
    """
    at, older = Counter(each.at for each in others), Counter(each.at for each in others if each.age < entry.age)
    holders = nsmallest(MAX_NAMED, (each.key for each in others if each.at != "waiting"))
    mine = (_turn(entry, others), entry.age)
    waiting = (each for each in others if each.at == "waiting")
    ahead = sum((_turn(each, others), each.age) < mine for each in waiting)
    return Queue(at["running"], at["starting"], tuple(holders), ahead, older["starting"])


def _turn(entry: QueueEntry, others: list[QueueEntry]) -> int:
    beside = (each for each in others if each.namespace == entry.namespace and each is not entry)
    return sum(each.at != "waiting" or each.age < entry.age for each in beside)
