"""How the pods of a workload behave: set by annotations of the pod template, and changed while they run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

CONTROL_PORT = 8081
"""Where the node stand-in, on 127.0.0.1, is told of changes: `POST /behave`."""

PREFIX = "bed.rolloutplan.dev/"


@dataclass(frozen=True)
class Behaviour:
    """Each field is an annotation too, with `-` for `_`. Times are in seconds; an annotation may say "20ms" or "2s"."""

    version: str = ""
    """Told in the header X-Version and in the body of each answer."""
    errors: float = 0.0
    """The share of answers that are 500; exactly that share, evenly spread."""
    latency: float = 0.0
    """The time an answer takes."""
    slow: float = 0.0
    """The share of answers that take `slow_latency` instead."""
    slow_latency: float = 1.0
    ready: bool = True
    """False: it goes on answering, but its Ready condition is False."""
    reason: str = ""
    """The message of the Ready condition while it is False."""
    crashloop: bool = False
    """True: nothing listens, and the container's restart count rises every two seconds."""
    start: str = ""
    """Why the container does not start, such as ImagePullBackOff; empty: it starts."""
    ready_after: float = 0.0
    """How long it runs before it becomes ready."""
    stop: float = 1.0
    """How long it goes on answering once it is being deleted."""
    exposes: str = ""
    """Further lines of its metrics; $good and $bad stand for how often it has answered with 200 and with 500."""
    runs: float = 0.0
    """For a Job's pod: how long it runs."""
    exit_code: int = 0
    """For a Job's pod: what it ends with."""
    says: str = ""
    """For a Job's pod: its termination message."""

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> "Behaviour":
        """What a pod's annotations say."""
        changes = {}
        for field in fields(cls):
            text = annotations.get(PREFIX + field.name.replace("_", "-"))
            if text is not None:
                changes[field.name] = _parse(type(field.default), text)
        return cls(**changes)

    @property
    def running(self) -> bool:
        """Whether the container runs, and so answers."""
        return not self.crashloop and not self.start


def _parse(kind: type, text: str) -> Any:
    if kind is bool:
        return text == "true"
    if kind is float:
        return seconds(text)
    return kind(text)


def seconds(text: str) -> float:
    """A plain number, or a time such as "20ms" or "1.5s", in seconds."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    return float(text.removesuffix("s"))


def healed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of a behaviour, where ready=True also lets the container start and not crash."""
    healing = {"crashloop": False, "start": "", "reason": ""} if changes.get("ready") else {}
    return healing | dict(changes)


def among(n: int, share: float) -> bool:
    """Whether the n-th of many (from 1) is among `share` of them: every fifth at 0.2, nothing left to chance."""
    rounding = 1e-9
    return int(n * share + rounding) > int((n - 1) * share + rounding)
