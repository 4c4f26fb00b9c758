"""Requests that write, and what each of them says, however often and in however many pieces the operator writes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

FINALIZER, REVERT = "finalizers", "rolloutplan.dev~1revert"
MEASURED = "measurements"
"""What a status says in which nothing was decided."""


@dataclass
class Write:
    """A request that writes. Times are of one clock, in seconds."""

    method: str
    path: str
    body: Any
    asked: float
    answered: float = 0.0
    """When the API server had answered; 0 where it has not."""
    status: int = 0
    """What the API server answered; 0 where the request never got there."""
    told: int = 0
    """What the client was told; 0 where it got no answer."""

    @property
    def lease(self) -> bool:
        """Whether it is the business of the leader's election, or of a notifier's counts: no trap counts it."""
        return "/leases" in self.path or "/notifiers/" in self.path

    @property
    def done(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        told = f", told {self.told}" * (self.told != self.status)
        return f"{self.method} {self.path} ({'; '.join(facts(self))}) -> {self.status}{told}"


def plan_of(write: Write) -> str:
    """The plan that a write concerns, as far as it says; empty where it does not.

    Of an Event on another object than a plan it is that object: nothing depends on whether it was written.
    """
    resource, name = _target(write)
    if resource.startswith("rolloutplans"):
        return name
    if resource == "events":
        about = write.body["regarding"]
        return str(about["name"]) if _is_on_plan(write) else f"{about['kind']} {about['name']}"
    if resource == "jobs":
        return _label(write, "plan")
    if resource == "rolloutrecords":
        return re.sub("-[0-9a-f]{8}-[0-9]+$", "", name or _named(write.body))
    return ""


def facts(write: Write) -> list[str]:
    """What a write says that none may have said before it: by one of these a run's writes are told from one another.

    How many writes there are is no such fact: it varies with the time that things take, as measurements are published,
    requests are repeated, and one write has what were two in another run.
    """
    resource, name = _target(write)
    match resource:
        case "rolloutplans/status":
            return [*_recorded(write.body["status"], name)] or [MEASURED]
        case "rolloutplans":
            return [f"plan: {change}" for change in _changed(write.body)]
        case "httproutes":
            return [f"route: {change}" for change in _changed(write.body)]
        case "events" if not _is_on_plan(write):
            return [f"Event {write.body['reason']} on {plan_of(write)}"]
        case "events":
            return [f"Event {_told(write.body, plan_of(write))}"]
        case "jobs":
            return [f"Job {_label(write, 'task')}"]
        case "rolloutrecords":
            return [f"record of {_decided(each, plan_of(write))}" for each in _appended(write.body)] or ["record"]
        case "deployments/scale":
            return [f"{name} of {write.body['spec']['replicas']} pods"]
    return [f"{write.method} {resource} {name or _named(write.body)}"]


def _is_on_plan(write: Write) -> bool:
    return bool(write.body["regarding"].get("kind", "RolloutPlan") == "RolloutPlan")


def _target(write: Write) -> tuple[str, str]:
    """The resource that is written, with its subresource, and the name in the path, if there is one."""
    resource, *more = write.path.partition("/namespaces/")[2].split("/")[1:] or [write.path]
    return "/".join([resource, *more[1:]]), more[0] if more else ""


def _label(write: Write, name: str) -> str:
    return str(write.body["metadata"].get("labels", {}).get(f"rolloutplan.dev/{name}", ""))


def _named(body: Any) -> str:
    """The name in an object that is created; empty where the API server makes one up, or there is no object."""
    return str(body["metadata"].get("name", "")) if isinstance(body, Mapping) and "metadata" in body else ""


def _recorded(status: Json, plan: str) -> Iterator[str]:
    """What a status has that was decided; lists come whole, so the newest decision is its last."""
    seen = Counter[str]()
    for decision in status.get("decisions", ()):
        told = _decided(decision, plan)
        seen[told] += 1
        yield f"decision {told}" + f", {seen[told]} times" * (seen[told] > 1)
    for part, name in (("intent", "action"), ("task", "name"), ("held", "reason")):
        if part in status:
            yield f"{part} {_begun_or_over(status[part], name)}"
    if status.get("phase"):
        yield f"phase {status['phase']}"


def _appended(body: Any) -> list[Json]:
    """The decisions that a record gets: all of a new one, or those that a JSON Patch appends."""
    if isinstance(body, list):
        return [each["value"] for each in body if each["path"] == "/status/decisions/-"]
    return list(body["status"].get("decisions", ()))


def _begun_or_over(part: Json | None, name: str) -> str:
    """A part of a status that comes and goes; where only some of it has changed, what has."""
    if part is None:
        return "is over"
    return str(part[name]) if name in part else f"has other {' and '.join(part)}"


def _told(event: Json, plan: str) -> str:
    """An Event as its decision."""
    prefix = "rolloutplan.dev/"
    said = {key.removeprefix(prefix): value for key, value in event["metadata"].get("annotations", {}).items()}
    decision = {"reason": event["reason"], "note": event["note"], "stage": said.get("stage", "")}
    return _decided({**decision, "weightTo": said.get("weight-to", "")}, plan)


def unmarked(text: str) -> str:
    """A text, or a name, without the marks in the names of Jobs, which differ from plan to plan."""
    return re.sub(r"(-[0-9]+-[a-z0-9-]+)-[0-9a-f]{8}\b", r"\1", text)


TASK_DONE = ("AssumptionTrue", "Expanded", "Contracted")


def decided(decision: Json, plan: str) -> tuple[str, ...]:
    """What tells a decision from all others of its run: reason, stage, weight; of a task also what is said of it."""
    said = unmarked(decision["note"].replace(plan, "")) if decision["reason"] in TASK_DONE else ""
    return decision["reason"], decision.get("stage", ""), decision.get("weightTo", ""), said


def _decided(decision: Json, plan: str) -> str:
    return " ".join(filter(None, decided(decision, plan)))


def _changed(patch: list[Json]) -> Iterator[str]:
    """What a JSON Patch changes of weights, of our finalizer and of the command that undoes a run."""
    weights = [f"{each['value']}" for each in patch if each["op"] != "test" and each["path"].endswith("/weight")]
    if weights:
        yield f"weights {' '.join(weights)}"
    for each in patch:
        for mark in (FINALIZER, REVERT):
            if each["op"] != "test" and mark in each["path"]:
                yield f"{each['op']} {mark.removeprefix('rolloutplan.dev~1')}"
