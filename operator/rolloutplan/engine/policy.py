"""What policies say about a plan: whose turn it is, what is frozen and until when, how long to soak.

Several policies may select one plan, and then all of them hold. None of this stands in the way of a rollback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from heapq import nsmallest
from typing import Final, Literal

from rolloutplan.engine.windows import spans
from rolloutplan.plan.policy import RolloutPolicySpec

_NAMED: Final = 5
"""So many of the plans that hold a place are named."""
_FOREVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as a person wrote it. `spec` is None where it cannot be read; `problem` then says why."""

    name: str
    spec: RolloutPolicySpec | None
    problem: str = ""


def selects(spec: RolloutPolicySpec, namespace: str, labels: Mapping[str, str]) -> bool:
    """Say whether a policy is for a plan of this namespace with these labels."""
    named = any(
        namespace.startswith(name[:-1]) if name.endswith("*") else namespace == name
        for name in spec.selector.namespaces
    )
    return named and spec.selector.match_labels.items() <= labels.items()


def soak_factor(policies: Iterable[PolicyView]) -> int:
    """By how much soaks are longer than written, and deadlines with them."""
    return 2 if any(policy.spec and policy.spec.focus == "Stability" for policy in policies) else 1


def doubt_factor(policies: Iterable[PolicyView]) -> Fraction:
    """How much less doubt than a plan leaves is left where counts speak for going on: of 5 % a half, for stability."""
    return Fraction(1, soak_factor(policies))


def unreadable(policies: Iterable[PolicyView]) -> str:
    """Why the first policy that cannot be read keeps everything it may be about from going forward; "" if all can."""
    for policy in policies:
        if policy.spec is None:
            return (
                f"policy {policy.name} cannot be read, so nothing goes forward: correct or delete it: {policy.problem}"
            )
    return ""


# ---- whose turn it is ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    """Another plan that stands in a line with this one."""

    key: str
    groups: frozenset[str]
    at: Literal["waiting", "starting", "running"]
    created: datetime
    uid: str


def groups(policies: Iterable[PolicyView]) -> dict[str, int]:
    """The lines that a plan stands in, and how many places each has."""
    places = {}
    for policy in policies:
        if policy.spec and policy.spec.max_concurrent:
            places[f"policy {policy.name}"] = _scaled(policy.spec.max_concurrent, policy.spec.focus)
        if policy.spec and policy.spec.lock_group:
            places[f"lock group {policy.spec.lock_group}"] = 1
    return places


def _scaled(count: int, focus: str) -> int:
    if focus == "Stability":
        return (count + 1) // 2
    return count * 2 if focus == "Throughput" else count


def wait_for_slot(me: Peer, places: Mapping[str, int], peers: Iterable[Peer]) -> str:
    """What a plan waits for and where it stands in line; "" where every line has a place for it.

    One that waits lets its elders go first. One that is starting gives way only to elders that started beside it, so
    that of two that took the last place at once one keeps it.
    """
    if me.at == "running":
        return ""
    peers = tuple(peers)
    lines = ((group, count, [peer for peer in peers if group in peer.groups]) for group, count in places.items())
    return next((words for group, count, line in lines if (words := _wait(me, group, count, line))), "")


def _wait(me: Peer, group: str, places: int, line: list[Peer]) -> str:
    holders = [peer.key for peer in line if peer.at != "waiting"]
    elders = [peer.at for peer in line if (peer.created, peer.uid) < (me.created, me.uid)]
    running = sum(peer.at == "running" for peer in line)
    first = len(holders) + elders.count("waiting") if me.at == "waiting" else running + elders.count("starting")
    if first < places:
        return ""
    taken = f"{len(holders)} of {places} {'is' if len(holders) == 1 else 'are'} taken"
    named = f": {_named(holders)}" if holders else ""
    return f"{_ordinal(elders.count('waiting') + 1)} in line for a place of {group} ({taken}{named})"


def _named(keys: list[str]) -> str:
    """Name the first few in an order of their own, so that the words change no oftener than what they say."""
    more = f", and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(nsmallest(_NAMED, keys)) + more


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


# ---- what is frozen ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freeze:
    """Why no increment is taken; `until` is None where it lasts until somebody takes it out."""

    words: str
    until: datetime | None


def frozen(policies: Iterable[PolicyView], now: datetime) -> Freeze | None:
    """Of the freezes that are on, the one that lasts longest."""
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
    """When the next window begins or ends; None where no window is left to come."""
    windows = (window for policy in policies if policy.spec for window in policy.spec.freeze.windows)
    edges = (edge for window in windows for span in spans(window, now) for edge in span)
    return min((edge for edge in edges if edge > now), default=None)
