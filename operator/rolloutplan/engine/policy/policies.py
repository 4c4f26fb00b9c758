"""The effect of policies on a plan: its place in a queue, freezes and their end, longer soaks.

Policies and queues come from the loop's store. If several policies select a plan, all of them apply. None of this
affects a rollback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from rolloutplan.api.policy import Selector
from rolloutplan.api.status import RUNNING, StageStatus, Status
from rolloutplan.engine.model.policy_view import At, Labels, PolicyView, Queue
from rolloutplan.engine.policy.freeze_windows import spans

MAX_NAMED: Final = 5
"""How many of the plans that hold a place a message names."""
LABELS_KEPT: Final = 32
"""How many labels of each object a run keeps in its status: several times what objects have, and 12 KiB at most."""
_FOREVER: Final = datetime.max.replace(tzinfo=UTC)


def in_force(policies: Iterable[PolicyView], namespace: str, labels: Labels, status: Status) -> tuple[PolicyView, ...]:
    """The policies that apply to a plan of this namespace, by name.

    A run is selected by the labels with which it began as well as by the present ones: taking one off changes nothing
    before its end. A policy that was deleted or edited applies as it is now, and so does a new one. Where it is not
    known whether one applies, it is among them, with the reason.
    """
    running = status.phase in RUNNING
    plan = (labels.plan, *((status.labels,) if running else ()))
    around = (*((labels.namespace,) if labels.namespace is not None else ()), *((status.namespace_labels,) * running))
    found = []
    for policy in sorted(policies, key=lambda each: each.name):
        wants = policy.selector
        if not _names(wants, namespace) or not _any_has(plan, wants.match_labels):
            continue
        if _any_has(around, wants.namespace_labels) or not wants.namespace_labels:
            found.append(policy)
        elif labels.namespace is None:
            found.append(replace(policy, spec=None, unknown=_LABELS_UNKNOWN.format(namespace)))
    return tuple(found)


_LABELS_UNKNOWN: Final = (
    "it selects by labels of the namespace, and the operator may not read those of {}: let it list and watch namespaces"
    " (the chart does), or select by namespaces"
)


def selects_in(selector: Selector, namespace: str, labels: Mapping[str, str] | None) -> bool:
    """Whether a policy selects plans of a namespace with these labels, as far as they are known."""
    return _names(selector, namespace) and selector.namespace_labels.items() <= (labels or {}).items()


def _names(selector: Selector, namespace: str) -> bool:
    return any(
        namespace.startswith(name[:-1]) if name.endswith("*") else namespace == name for name in selector.namespaces
    )


def _any_has(known: Iterable[Mapping[str, str]], wanted: Mapping[str, str]) -> bool:
    return any(wanted.items() <= labels.items() for labels in known)


def kept(labels: Labels, policies: Iterable[PolicyView]) -> Labels:
    """The labels that a run keeps, at most LABELS_KEPT of each object: first those by which policies select."""
    named = {name for each in policies for name in (*each.selector.match_labels, *each.selector.namespace_labels)}

    def first(known: Mapping[str, str]) -> dict[str, str]:
        return {name: known[name] for name in sorted(known, key=lambda name: (name not in named, name))[:LABELS_KEPT]}

    return Labels(first(labels.plan), None if labels.namespace is None else first(labels.namespace))


def wants_stability(policies: Iterable[PolicyView]) -> bool:
    """Whether the focus of a policy is Stability now: soaks last twice as long, and deadlines grow by the same time."""
    return any(policy.focus == "Stability" for policy in policies)


def doubt_factor(policies: Iterable[PolicyView], stage: StageStatus | None) -> Fraction:
    """The part of the plan's doubt that counts may leave to go on: with Stability half of it, 2.5 % instead of 5 %.

    A stage keeps the focus with which its soak began: what has to be proved does not change while it is proved.
    """
    begun = stage is not None and stage.soak_until is not None
    return Fraction(1, 2 if (stage.stability if stage and begun else wants_stability(policies)) else 1)


def unreadable_policy(policies: Iterable[PolicyView]) -> str:
    """Why the first unreadable policy blocks every plan that it may select; empty where all are readable."""
    for policy in policies:
        if policy.unknown:
            return f"whether policy {policy.name} applies is not known, so the run waits: {policy.unknown}"
        if policy.spec is None:
            return f"policy {policy.name} is invalid, so the run waits: correct or delete it: {policy.problem}"
    return ""


# ---- queues --------------------------------------------------------------------------------------


def concurrency_groups(policies: Iterable[PolicyView], namespace: str) -> dict[str, int]:
    """The groups of a plan of this namespace, with the number of places of each."""
    return {group: places for group, places, _ in _groups(policies, namespace)}


def release_after(policies: Iterable[PolicyView], namespace: str) -> tuple[timedelta, str] | None:
    """After which time a held run loses its place, and in which group; None where it keeps it."""
    return min(((after, group) for group, _, after in _groups(policies, namespace) if after is not None), default=None)


def _groups(policies: Iterable[PolicyView], namespace: str) -> Iterator[tuple[str, int, timedelta | None]]:
    for policy in policies:
        if (spec := policy.spec) is None:
            continue
        name = f"policy {policy.name}"
        if spec.max_concurrent:
            yield name, _scaled_places(spec.max_concurrent, policy.focus), spec.release_after
        if spec.max_concurrent_per_namespace:
            places = _scaled_places(spec.max_concurrent_per_namespace, policy.focus)
            yield f"{name} in namespace {namespace}", places, spec.release_after
        if spec.lock_group:
            yield f"lock group {spec.lock_group}", 1, spec.release_after


def _scaled_places(count: int, focus: str) -> int:
    if focus == "Stability":
        return (count + 1) // 2
    return count * 2 if focus == "Throughput" else count


def queue_position(at: At, places: Mapping[str, int], others: Mapping[str, Queue]) -> str:
    """The group for which a plan waits and its position in that queue, as text; empty where every group has a place.

    A waiting plan lets those go first whose turn comes before. A starting plan gives way only to older ones that are
    starting too, so that one of two plans that took the last place at the same time keeps it.
    """
    if at == "running":
        return ""
    positions = (_position(at, group, count, others.get(group, Queue())) for group, count in places.items())
    return next((words for words in positions if words), "")


def _position(at: At, group: str, places: int, others: Queue) -> str:
    taken = others.running + others.starting
    first = taken + others.ahead if at == "waiting" else others.running + others.older_starting
    if first < places:
        return ""
    words = f"{taken} of {places} {'is' if taken == 1 else 'are'} taken"
    named = f": {_holder_names(others.holders, taken)}" if taken else ""
    return f"{_ordinal(others.ahead + 1)} in the queue for a place in {group} ({words}{named})"


def _holder_names(holders: tuple[str, ...], taken: int) -> str:
    """The first few holders, in their fixed order, so that the message changes only when its content does."""
    more = f", and {taken - len(holders)} more" if taken > len(holders) else ""
    return ", ".join(holders) + more


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


# ---- freezes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freeze:
    """An active freeze; `until` is None where it lasts until somebody removes it."""

    words: str
    until: datetime | None


def longest_freeze(policies: Iterable[PolicyView], now: datetime) -> Freeze | None:
    """The active freeze that lasts longest; None where there is none."""
    return max(_freezes(policies, now), key=lambda freeze: freeze.until or _FOREVER, default=None)


def _freezes(policies: Iterable[PolicyView], now: datetime) -> Iterator[Freeze]:
    for policy in policies:
        if policy.spec is None:
            continue
        if policy.spec.freeze.now:
            yield Freeze(f"policy {policy.name}: {policy.spec.freeze.now}", None)
        for window in policy.spec.freeze.windows:
            for begin, end in spans(window, now):
                if begin <= now < end:
                    yield Freeze(f"policy {policy.name}: {window.reason}, until {end:%Y-%m-%dT%H:%M:%SZ}", end)


def next_change(policies: Iterable[PolicyView], now: datetime) -> datetime | None:
    """When the next window begins or ends; None where there is none."""
    windows = (window for policy in policies if policy.spec for window in policy.spec.freeze.windows)
    edges = (edge for window in windows for span in spans(window, now) for edge in span)
    return min((edge for edge in edges if edge > now), default=None)
