"""Releases as a judge sees them: counts look by look, from Poisson traffic whose bad ratio may drift and break."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, floor, lgamma, log, sqrt
from random import Random

from rolloutplan.stats.counts import Marks, Sample, counter_increase, first_marks
from rolloutplan.stats.sequential import CountDelta


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the log bad ratio, as AR(1): of the new side, of the old, and of what both share."""

    new: float = 0.0
    old: float = 0.0
    both: float = 0.0
    memory: float = 0.8
    """How much of it is still there a look later."""


QUIET = Noise()
NOISY = Noise(new=0.3, old=0.1, both=0.3)


@dataclass(frozen=True)
class Release:
    """A rollout: `rate` requests/s in looks of so many seconds, and from look `since` on a fault."""

    rate: float
    looks: int = 30
    seconds: float = 60
    base: float = 0.002
    """The bad ratio of a side that has no fault."""
    ratio: float = 1.0
    """The new side's bad ratio over the base, from look `since` on."""
    incident: float = 1.0
    """Both sides' bad ratio over the base, from look `since` on."""
    since: int = 1
    noise: Noise = QUIET
    shares: Sequence[float] = (0.1,)
    """The new side's share of the traffic, through equal parts of the run."""

    def run(self, rng: Random) -> list[CountDelta]:
        """One run of it."""
        return list(self._looks(rng))

    def _looks(self, rng: Random) -> Iterator[CountDelta]:
        noise = self.noise
        ours, theirs, common = (drift(rng, sd, noise.memory) for sd in (noise.new, noise.old, noise.both))
        for delta in range(1, self.looks + 1):
            broken = delta >= self.since
            base = self.base * next(common) * (self.incident if broken else 1)
            share = self.shares[(delta - 1) * len(self.shares) // self.looks]
            requests = self.rate * self.seconds
            new = side(rng, requests * share, base * next(ours) * (self.ratio if broken else 1))
            yield CountDelta(*new, *side(rng, requests * (1 - share), base * next(theirs)))


@dataclass(frozen=True)
class Pods(Release):
    """A release seen through its pods' counters. One pod of each side is noisy; each restarts now and then."""

    new: int = 3
    old: int = 10
    deviation: float = 0.6
    """Of the log bad ratio of the noisy pods."""
    restarts: float = 0.005
    """The chance of a pod's restart in a look: its counters begin again, under the same name."""

    def _looks(self, rng: Random) -> Iterator[CountDelta]:
        shares = ((self.new, self.shares[0]), (self.old, 1 - self.shares[0]))
        sides = [self._side(rng, pods, self.rate * self.seconds * share) for pods, share in shares]
        marks = [first_marks(next(side), 0) for side in sides]
        for look in range(1, self.looks + 1):
            new, old = (
                counter_increase(known, next(side), look * self.seconds)
                for known, side in zip(marks, sides, strict=True)
            )
            marks = [new.marks, old.marks]
            if new.problem is None and old.problem is None:  # else a restart that the total alone does not show
                yield CountDelta(new.total, new.bad, old.total, old.bad)

    def _side(self, rng: Random, pods: int, requests: float) -> Iterator[Sample]:
        noise, quiet = drift(rng, self.deviation, self.noise.memory), drift(rng, 0.0, 0.0)
        counters = [(0, 0)] * pods
        while True:
            for pod, counted in enumerate(counters):
                more = side(rng, requests / pods, self.base * next(quiet if pod else noise))
                kept = (0, 0) if rng.random() < self.restarts else counted
                counters[pod] = (kept[0] + more[0], kept[1] + more[1])
            yield {f"pod-{pod}": (float(total), float(bad) or None) for pod, (total, bad) in enumerate(counters)}


@dataclass(frozen=True)
class Replicas(Release):
    """A release seen through two replicas of a source, one up to a scrape behind; which of them answers is chance.

    The old side's pods have served for long, and better than now: a lifetime that is counted anew makes the new side
    look worse. Looks are closer than scrapes.
    """

    scrape: float = 60
    served: tuple[int, float] = (500_000, 0.05)
    """Requests of the old side before the run, and its bad ratio then as a part of the present one."""

    def _looks(self, rng: Random) -> Iterator[CountDelta]:
        tick, behind = 5.0, rng.uniform(0, self.scrape)
        life, better = self.served
        sums = [[(2000, int(2000 * self.base * better))], [(life, int(life * self.base * better))]]
        for _ in range(int(self.looks * self.seconds / tick) + 1):
            for counters, share in zip(sums, (self.shares[0], 1 - self.shares[0]), strict=True):
                more = side(rng, self.rate * tick * share, self.base)
                counters.append((counters[-1][0] + more[0], counters[-1][1] + more[1]))
        marks: list[Marks] | None = None
        for look in range(1, self.looks + 1):
            at, lag = look * self.seconds, rng.choice((0.0, behind))
            scraped = max(0.0, (at - lag) // self.scrape * self.scrape + lag)
            samples = [{"job/pod": (float(t), float(b))} for t, b in (each[int(scraped / tick)] for each in sums)]
            if marks is None:
                marks = [first_marks(sample, at) for sample in samples]
                continue
            new, old = (counter_increase(known, sample, at) for known, sample in zip(marks, samples, strict=True))
            marks = [new.marks, old.marks]
            if new.problem is None and old.problem is None:
                yield CountDelta(new.total, new.bad, old.total, old.bad)


def side(rng: Random, requests: float, bad: float) -> tuple[int, int]:
    """Requests of one side in a look and the bad ones, where so many are expected and such a part of them is bad."""
    total = poisson(rng, requests)
    return total, min(total, poisson(rng, total * bad))


def drift(rng: Random, deviation: float, memory: float) -> Iterator[float]:
    """Factors of mean 1 whose logarithm is an AR(1) process of that standard deviation, from its long run on."""
    now, fresh = rng.gauss(0, 1), sqrt(1 - memory * memory)
    while True:
        yield exp(deviation * now - deviation * deviation / 2)
        now = memory * now + fresh * rng.gauss(0, 1)


def poisson(rng: Random, mean: float) -> int:
    """A Poisson number: counted down from one uniform number where few are expected, else by Hormann's rejection."""
    if mean < 10:
        left, chance, count = rng.random(), exp(-mean), 0
        while left > chance > 0:
            left -= chance
            count += 1
            chance *= mean / count
        return count
    b = 0.931 + 2.53 * sqrt(mean)
    a, scale, sure = 0.02483 * b - 0.059, 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = rng.random() - 0.5, 1 - rng.random()
        room = 0.5 - abs(u)
        count = floor((2 * a / room + b) * u + mean + 0.43) if room else -1
        if room >= 0.07 and v <= sure:
            return count
        if count < 0 or (room < 0.013 and v > room):
            continue
        if log(v * scale / (a / (room * room) + b)) <= count * log(mean) - mean - lgamma(count + 1):
            return count
