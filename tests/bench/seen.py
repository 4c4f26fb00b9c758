"""What an outside observer keeps of each version of plans, routes and endpoints, and which of it breaks a promise.

Nothing here imports the operator: it is judged by what everybody sees in the API server. Every version of an object has
a number of one sequence, so it is known what stood when.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tests.bed.api import Manifest

FORWARD = ("StageStarted", "WeightShifted", "StageProved", "Succeeded")
GOING_BACK = ("RollingBack", "RolledBack")
ENDED = ("Succeeded", "RolledBack")
FENCE = "rolloutplan.dev/seq"
SEEN_WITHIN = 20.0
"""Seconds in which the operator has heard of endpoints and weights that others change, though its watches are cut, its
requests fail, and no replica may lead for a while."""

Key = tuple[str, str]
"""Namespace and name."""
Weights = tuple[tuple[str, int], ...]
"""The backends of one rule, in their order."""
Rules = dict[int, Weights]
"""By the index of the rule."""


class PlanVersion(NamedTuple):
    version: int
    seen: float
    """When it was seen, in seconds of a clock that only goes on."""
    phase: str
    new: str
    old: str
    held: dict[str, list[Rules]]
    """By route: every set of weights that the plan stands for, the snapshot first."""


class RouteVersion(NamedTuple):
    version: int
    seen: float
    rules: Rules
    fence: str
    """The mark that each write of the operator leaves."""


class EndpointsVersion(NamedTuple):
    version: int
    seen: float
    ready: int


class Proved(NamedTuple):
    """A stage that was said to be proved."""

    plan: str
    stage: str
    judged_since: str
    at: str


@dataclass
class Service:
    """The endpoints of a Service, merged over its slices."""

    slices: dict[str, int] = field(default_factory=dict)
    """The ready endpoints of each slice."""
    versions: list[EndpointsVersion] = field(default_factory=list)

    def take(self, event: str, raw: Manifest, seen: float) -> None:
        """Take in the next version of one of its slices."""
        ready = [e for e in raw.get("endpoints") or () if e.get("conditions", {}).get("ready") is not False]
        self.slices[raw["metadata"]["name"]] = 0 if event == "DELETED" else len(ready)
        self.versions.append(EndpointsVersion(version_of(raw), seen, sum(self.slices.values())))

    def empty_for(self, version: int, seen: float) -> float:
        """For how many seconds it had had no ready endpoint just before a version of something else."""
        place = bisect_left(self.versions, version, key=lambda one: one.version)
        since = seen
        for one in reversed(self.versions[:place]):
            if one.ready:
                break
            since = one.seen
        return seen - since


@dataclass
class Plan:
    """One plan (by its uid), as far as it was seen."""

    key: Key
    routes: list[str]
    versions: list[PlanVersion] = field(default_factory=list)
    decisions: dict[int, Manifest] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    """Stages that were called proved beside a predicate without a verdict."""
    wordless: list[str] = field(default_factory=list)
    """States that wait without saying for what, or are Ready before the end."""
    proved: list[Proved] = field(default_factory=list)
    _before: Manifest = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "/".join(self.key)

    def take(self, raw: Manifest, seen: float) -> None:
        """Take in its next version."""
        status = raw.get("status", {})
        weights, intent = status.get("weights", {}), status.get("intent", {})
        held: dict[str, list[Rules]] = defaultdict(list)
        for route in (*weights.get("snapshot", ()), *weights.get("written", ()), *intent.get("routes", ())):
            held[route["name"]].append({rule["index"]: _stated(rule) for rule in route.get("rules", ())})
        phase, sides = status.get("phase", ""), (weights.get("new", ""), weights.get("old", ""))
        self.versions.append(PlanVersion(version_of(raw), seen, phase, *sides, held))
        if phase and phase not in ENDED and not status.get("waitingFor"):
            self.wordless.append(f"{phase} {status.get('reason', '')} says not what it waits for")
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        if ready and phase != "Succeeded":
            self.wordless.append(f"Ready is True, and it is {phase}")
        for decision in status.get("decisions", ()):
            if decision["seq"] not in self.decisions and decision["reason"] == "StageProved":
                self._was_proved(raw, decision)
            self._hear(decision)
        self._before = raw

    def _hear(self, decision: Manifest) -> None:
        """Hold a decision against all that went before it."""
        seq, known = decision["seq"], self.decisions.get(decision["seq"])
        if known is not None:
            if known != decision:
                fields = {key: (known.get(key), decision.get(key)) for key in known.keys() | decision.keys()}
                changed = {key: pair for key, pair in fields.items() if pair[0] != pair[1]}
                self.broken.append(f"decision {_words(known)} was written anew: {changed}")
                self.decisions[seq] = decision
            return
        if seq != len(self.decisions) + 1:
            self.broken.append(f"decision {seq} ({_words(decision)}) follows {len(self.decisions)}")
        run = decision.get("run")
        failed = next((d for d in self.decisions.values() if self._leads_back(d) and d.get("run") == run), None)
        if failed is not None and decision["reason"] in FORWARD:
            self.broken.append(f"{_words(decision)} comes after {_words(failed)} in run {run}")
        self.decisions[seq] = decision

    def _was_proved(self, raw: Manifest, decision: Manifest) -> None:
        """Each guard has had a verdict since the weight was verified, by this status or by the one before it."""
        statuses = [each.get("status", {}) for each in (self._before, raw)]
        since = next((s["stage"].get("judgedSince", "") for s in statuses if s.get("stage")), "")
        self.proved.append(Proved(self.name, decision.get("stage", ""), since, decision["at"]))
        for guard in raw["spec"].get("guards", ()):
            found = [p for s in statuses for p in s.get("predicates", ()) if p["name"] == guard.get("name")]
            heard = [p for p in found if p["verdict"] == "Clear" or p.get("decidedAt", "") > since]
            if not heard and not guard.get("dryRun"):
                self.undecided.append(f"{_words(decision)}, and {guard['name']} had no verdict since {since}: {found}")

    def _leads_back(self, decision: Manifest) -> bool:
        """Whether it began a way back that ends the run; after one for pods that are away, the run is held instead."""
        later = (d["reason"] for seq, d in sorted(self.decisions.items()) if seq > decision["seq"])
        ends = next((reason for reason in later if reason in ("RolledBack", "Held")), "")
        return decision["reason"] == "RollbackStarted" and ends != "Held"

    def at(self, version: int) -> PlanVersion | None:
        """How it stood just before a version of something else."""
        place = bisect_left(self.versions, version, key=lambda seen: seen.version)
        return self.versions[place - 1] if place else None


def _words(decision: Manifest) -> str:
    return f"{decision['seq']} {decision['reason']} {decision.get('stage', '')} {decision.get('weightTo', '')}".strip()


def _stated(rule: Manifest) -> Weights:
    """The weights of a rule as a plan's status states them; a weight of 0 may be left out."""
    return tuple((backend["service"], backend.get("weight", 0)) for backend in rule.get("backends", ()))


def route_version(raw: Manifest, seen: float) -> RouteVersion:
    """A route as it is."""
    rules = {
        index: tuple((ref["name"], ref.get("weight", 1)) for ref in rule.get("backendRefs", ()))
        for index, rule in enumerate(raw["spec"]["rules"])
    }
    return RouteVersion(version_of(raw), seen, rules, raw["metadata"].get("annotations", {}).get(FENCE, ""))


def version_of(raw: Manifest) -> int:
    return int(raw["metadata"]["resourceVersion"])


# ---- what takes more than one object ---------------------------------------------------------------------------------


def unheld(plan: Plan, route: str, seen: Sequence[RouteVersion]) -> Iterator[str]:
    """Weights of the operator that came to stand in a route while the plan did not hold them, or was on its way back.

    What others write leaves the operator's mark as it is; here they write all of the traffic for one side.
    """
    for before, after in pairwise(seen):
        stood = plan.at(after.version)
        if stood is None or before.rules == after.rules or _by_others(before, after):
            continue
        if after.rules not in [{**after.rules, **rules} for rules in stood.held.get(route, ())]:
            held = " or ".join(map(str, stood.held.get(route, ()))) or "nothing"
            yield f"{route} went from {before.rules} to {after.rules} while {stood.phase} held {held}"
        if stood.phase in GOING_BACK and _of(stood.new, after.rules) > _of(stood.new, before.rules):
            yield f"{route} went from {before.rules} to {after.rules} while {stood.phase}"


def _by_others(before: RouteVersion, after: RouteVersion) -> bool:
    alone = all(sum(weight > 0 for _, weight in weights) == 1 for weights in after.rules.values())
    return before.fence == after.fence and alone


def unrestored(plan: Plan, route: str, seen: Sequence[RouteVersion]) -> Iterator[str]:
    """The plan says RolledBack, and the route does not hold the snapshot."""
    for before, after in pairwise(plan.versions):
        snapshot = after.held.get(route, [])[:1]
        if before.phase == after.phase or after.phase != "RolledBack" or not snapshot:
            continue
        stands = seen[bisect_left(seen, after.version, key=lambda one: one.version) - 1].rules
        if any(stands.get(index) != weights for index, weights in snapshot[0].items()):
            yield f"RolledBack with {route} at {stands}, the snapshot is {snapshot[0]}"


def sent_to_nobody(
    plan: Plan, route: str, seen: Sequence[RouteVersion], services: Mapping[Key, Service]
) -> Iterator[str]:
    """Weight that the operator gave to a Service which had been without endpoints for long, and the other was not."""
    for before, after in pairwise(seen):
        stood = plan.at(after.version)
        if stood is None or _by_others(before, after):
            continue
        for risen, other in ((stood.new, stood.old), (stood.old, stood.new)):
            if _of(risen, after.rules) <= _of(risen, before.rules):
                continue
            empty = _empty_for(plan, services, risen, after)
            if empty > SEEN_WITHIN and not _empty_for(plan, services, other, after):
                yield f"{route} went to {after.rules} at {stood.phase}, and {risen} had no endpoint for {empty:.0f} s"


def green_over_an_outage(
    plan: Plan, route: str, seen: Sequence[RouteVersion], services: Mapping[Key, Service]
) -> Iterator[str]:
    """The plan came to say Succeeded, and nobody answered at its new side, or the route did not lead there."""
    for before, after in pairwise(plan.versions):
        if before.phase == after.phase or after.phase != "Succeeded":
            continue
        if (empty := _empty_for(plan, services, after.new, after)) > SEEN_WITHIN:
            yield f"Succeeded, and {after.new} had had no endpoint for {empty:.0f} s"
        until = bisect_left(seen, after.version, key=lambda one: one.version)
        lately = [one for one in seen[:until] if after.seen - one.seen < SEEN_WITHIN] or seen[until - 1 : until]
        if not any(_of(after.old, one.rules) == 0 and _of(after.new, one.rules) > 0 for one in lately):
            yield f"Succeeded, and {route} held {[one.rules for one in lately]}"


def _empty_for(plan: Plan, services: Mapping[Key, Service], name: str, at: PlanVersion | RouteVersion) -> float:
    service = services.get((plan.key[0], name))
    return service.empty_for(at.version, at.seen) if service is not None else 0.0


def _of(service: str, rules: Rules) -> int:
    return sum(weight for weights in rules.values() for name, weight in weights if name == service)
