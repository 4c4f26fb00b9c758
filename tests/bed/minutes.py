"""How long the programs of a bed take to build: what was measured, as a forecast for this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

MEASURED: Final[Mapping[str, float]] = {
    "etcd": 2,
    "kube-apiserver": 6,
    "kube-controller-manager": 3,
    "prometheus": 14,
    "helm": 0.5,
    "contour": 2,
    "skipper": 4,
    "istiod": 6,
    "jaeger": 4,
    "promtool": 1,
}
"""Minutes from nothing, downloads included, in this order: the controller manager shares most with the API server, and
promtool with Prometheus."""
MEASURED_CORES: Final = 2
FETCHED: Final = 0.2
"""Minutes for what is fetched and not built."""


def forecast(names: Iterable[str], cores: int) -> float:
    """Minutes until all of these are made, where the work spreads over all cores."""
    return sum(MEASURED.get(name, FETCHED) for name in names) * MEASURED_CORES / cores


def announced(names: Iterable[str], cores: int) -> str:
    """What is said before the first of these is made."""
    every = [*names]
    machine = f"{cores} core{'s' if cores > 1 else ''}"
    length = f"{in_words(forecast(every, cores))} on {machine}"
    return f"to make, once: {', '.join(every)}; {length}. After Ctrl-C the same command goes on where it stopped"


def in_words(minutes: float) -> str:
    """Whole minutes: nobody can say more before."""
    return "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
