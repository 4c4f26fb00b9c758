"""`make bench-judge`: how often the calls are right on simulated releases, beside the rules of others on the same runs.

Seeded by row and run: the same table on every machine, whatever its cores. Only the time of a look is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from multiprocessing import Pool, cpu_count
from random import Random
from statistics import median

from rolloutplan.api.quantities import parse_vs_old
from rolloutplan.stats.sequential import CountDelta, Hypothesis, evidence, make_hypothesis, start, step, verdict
from tests.bench.peers import PEERS, Rule, failures, mann_whitney, z_test
from tests.bench.releases import NOISY, QUIET, Noise, Pods, Release, Replicas

PROOF = 20
"""The evidence that is proof at 95 %."""
FAIL = make_hypothesis(parse_vs_old("> 1.5x"), "fail")
PASS = make_hypothesis(parse_vs_old("< 2x"), "pass")
SHORT = 60
"""In longer runs the peers that sort all pairs of looks are left out."""


def ours(looks: Sequence[CountDelta], of: Hypothesis = FAIL) -> int | None:
    """The look at which it is proved."""
    state = start(of)
    for at, delta in enumerate(looks, 1):
        state = step(of, state, delta)
        if evidence(state).proving >= PROOF:
            return at
    return None


# ---- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One kind of release, and how often or how soon it is to be decided: shares of all runs, looks of the fault."""

    name: str
    release: Release
    most: float | None = None
    """No more of the runs may be decided."""
    least: float = 0.0
    median: float = inf
    p99: float = inf
    of: Hypothesis = FAIL
    peers: bool = True
    """Whether others have a rule for it."""
    times: int = 1
    """So many times the usual runs, where chance would hide on which side of the bar it is."""

    @property
    def bar(self) -> str:
        if self.most is not None:
            return f"{'passes' if self.of is PASS else 'rolls back'} <= {self.most:.0%}"
        words = [f">= {self.least:.0%}" if self.least < 1 else "100 %".replace(" ", "")]
        words += [f"median <= {self.median:g}"] if self.median < inf else []
        return ", ".join(words + ([f"p99 <= {self.p99:g}"] if self.p99 < inf else []))

    def told(self, decided: Sequence[int | None]) -> str:
        """How often, and after how many looks of the fault."""
        after = self.after(decided)
        if self.most is not None:
            return f"{len(after) / len(decided):.2%}"
        looks = f", median {quantile(after, 0.5):g}, p99 {quantile(after, 0.99):g}" if after else ""
        return f"{len(after) / len(decided):.1%}{looks}"

    def reached(self, decided: Sequence[int | None]) -> bool:
        after = self.after(decided)
        if self.most is not None:
            return len(after) <= self.most * len(decided)
        soon = quantile(after, 0.5) <= self.median and quantile(after, 0.99) <= self.p99
        return len(after) >= self.least * len(decided) and soon

    def after(self, decided: Sequence[int | None]) -> Sequence[int]:
        """Looks of the fault until a decision; what was decided before it was none of it."""
        return sorted(at - self.release.since + 1 for at in decided if at is not None and at >= self.release.since)


def quantile(values: Sequence[int], part: float) -> float:
    """The value that such a part of the sorted values does not exceed; inf of nothing."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else inf


RATES = (10, 100, 1000)
NOISES: Mapping[str, Noise] = {"quiet": QUIET, "noisy": NOISY}
QUIET_OR_NOISY = [(rate, name, noise) for rate in RATES for name, noise in NOISES.items()]


def nothing_wrong(looks: int) -> list[Row]:
    return [
        Row(
            f"nothing wrong, {rate}/s, {name}, {looks} looks",
            Release(rate, looks, noise=noise),
            most=0.01,
            times=10 if (rate, name, looks) == (1000, "noisy", 30) else 4 if (rate, name) == (1000, "noisy") else 1,
        )
        for rate, name, noise in QUIET_OR_NOISY
    ]


LADDER = (0.05, 0.25, 0.5)


def held_back(share: float, looks: int, rate: float, ratio: float, noise: Noise, base: float) -> Release:
    """Stages of 10 looks, the last at 100 % less a control group, and a bake there of so many, with the fault in it."""
    shares = (*LADDER, *[1 - share] * (1 + looks // 10))
    since = 10 * len(shares) - looks + 1
    return Release(rate, 10 * len(shares), base=base, ratio=ratio, since=since, noise=noise, shares=shares)


def baked(ratio: float, share: float, looks: int, base: float, rate: float, noisy: str, least: float = 0.0) -> Row:
    """A row of what is decided in such a bake; what was decided before it counts as not found."""
    what = f"{ratio:g}x errors from the begin of a bake" if ratio > 1 else "nothing wrong in a bake"
    return Row(
        f"{what} of {looks} looks, {100 * share:g} % held back, {100 * base:g} % bad, {rate:g}/s, {noisy}",
        held_back(share, looks, rate, ratio, NOISES[noisy], base),
        most=None if ratio > 1 else 0.01,
        least=least,
    )


BAKES = [
    baked(3, 0.01, 30, 0.01, 1000, "quiet", least=0.99),
    baked(3, 0.01, 60, 0.002, 1000, "quiet", least=0.99),
    baked(3, 0.01, 60, 0.01, 1000, "noisy", least=0.98),
    baked(3, 0.05, 30, 0.002, 1000, "quiet", least=0.99),
    baked(3, 0.1, 60, 0.01, 40, "quiet", least=0.99),
    *(baked(1, 0.01, 60, base, 1000, noisy) for base in (0.002, 0.01) for noisy in NOISES),
    *(baked(1, 0.1, 60, 0.01, 40, noisy) for noisy in NOISES),
]
THRICE = Row("3x errors, 100/s", Release(100, ratio=3), least=0.99, median=8)
SHORT_AND_GOOD = nothing_wrong(30)
ROWS = [
    *SHORT_AND_GOOD,
    *nothing_wrong(240),
    Row("exactly at the tolerance, 1000/s, 240 looks", Release(1000, 240, ratio=1.5), most=0.05, peers=False),
    Row(
        "incident on both sides (5x from look 10, noise 0.6), 1000/s",
        Release(1000, incident=5, since=10, noise=Noise(both=0.6)),
        most=0.01,
    ),
    THRICE,
    Row("2x errors, 1000/s", Release(1000, ratio=2), least=0.99, median=7),
    Row("10x errors, 100/s", Release(100, ratio=10), least=1, median=1),
    Row("10x errors, 100/s, looks of 10 s", Release(100, seconds=10, ratio=10), least=1, median=3),
    Row("3x errors from look 120 of 240, 100/s", Release(100, 240, ratio=3, since=120), least=0.99, median=25, p99=55),
    *(
        Row(f'"< 2x" when it is 2x, {rate}/s, 240 looks', Release(rate, 240, ratio=2), most=0.05, of=PASS, peers=False)
        for rate in RATES
    ),
    *(
        Row(
            f"nothing wrong, weights 5 -> 25 -> 50 %, {rate}/s, {name}, 240 looks",
            Release(rate, 240, noise=noise, shares=(0.05, 0.25, 0.5)),
            most=0.01,
        )
        for rate, name, noise in QUIET_OR_NOISY
        if rate > 10
    ),
    *(
        Row(
            f"nothing wrong, 3 new and 10 old pods, one of each noisy (sd {deviation}), {rate}/s, 240 looks",
            Pods(rate, 240, deviation=deviation),
            most=0.01,
        )
        for deviation in (0.3, 0.6)
        for rate in RATES
    ),
    Row(
        "nothing wrong, two Prometheus replicas up to a scrape of 60 s apart, looks of 15 s, 100/s",
        Replicas(100, 120, seconds=15, base=0.01),
        most=0.01,
        peers=False,
    ),
    *BAKES,
    Row("2x slow requests (5 % usually are), 100/s", Release(100, base=0.05, ratio=2), least=0.99),
]


# ---- running -------------------------------------------------------------------------------------


def rules(row: Row) -> Mapping[str, Rule]:
    """By which rules a row's runs are judged."""
    peers = {} if not row.peers else PEERS
    if row.release.looks > SHORT:
        peers = {name: rule for name, rule in peers.items() if rule is not mann_whitney}
    return {"ours": partial(ours, of=row.of), **peers, **(tuned() if row in (*SHORT_AND_GOOD, THRICE) else {})}


def tuned() -> Mapping[str, Rule]:
    """The peers' rules with their knobs in other places: what a limit costs, and what it brings."""
    limits = (0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02)
    return {
        **{
            f"{count} looks over {limit:.1%}": partial(failures, count=count, limit=limit)
            for limit in limits
            for count in (1, 2, 3, 4, 5, 6, 8, 10, 12, 15)
        },
        **{f"z-test at {level:g}": partial(z_test, level=level) for level in (1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-10)},
    }


def judged(place: tuple[int, int]) -> Mapping[str, int | None]:
    """When each rule decided, in one run of one row."""
    row = ROWS[place[0]]
    looks = row.release.run(Random(f"{row.name} {place[1]}"))
    return {name: rule(looks) for name, rule in rules(row).items()}


def table(runs: int, wanted: str) -> Iterator[tuple[str, str, str, str, bool]]:
    """The rows: what it is, what is to be reached, what we and the peers did, and whether we reached it."""
    kept: dict[str, Mapping[str, Sequence[int | None]]] = {}
    with Pool(cpu_count()) as pool:
        for index, row in enumerate(ROWS):
            if wanted not in row.name:
                continue
            found = pool.map(judged, [(index, run) for run in range(runs * row.times)], chunksize=50)
            decided = {name: [each[name] for each in found] for name in found[0]}
            kept[row.name] = decided
            peers = ", ".join(f"{name} {row.told(decided[name])}" for name in PEERS if name in decided)
            yield row.name, row.bar, row.told(decided["ours"]), peers or "not offered", row.reached(decided["ours"])
    if not wanted:
        yield best_peer(kept)
    yield cost()


def best_peer(kept: Mapping[str, Mapping[str, Sequence[int | None]]]) -> tuple[str, str, str, str, bool]:
    """The quickest rule of others for 3x among those that are within our own bar on every row with nothing wrong."""
    good = [(row, kept[row.name]) for row in SHORT_AND_GOOD]
    thrice = {name: median(at or inf for at in decided) for name, decided in kept[THRICE.name].items()}
    able = [name for name in thrice if name != "ours" and all(row.reached(decided[name]) for row, decided in good)]
    best = min(able, key=lambda name: thrice[name])
    at_100 = [name for name in thrice if name != "ours" and _as_few(name, good[2:4])]
    here = min(at_100, key=lambda name: thrice[name])
    peers = f"{thrice[best]:g} ({best}); as few at 100/s alone: {thrice[here]:g} ({here})"
    bar = "fewer than the best peer rule with as few false rollbacks"
    return "3x errors, 100/s, median looks", bar, f"{thrice['ours']:g}", peers, thrice["ours"] < thrice[best]


def _as_few(name: str, good: Sequence[tuple[Row, Mapping[str, Sequence[int | None]]]]) -> bool:
    return all(len(row.after(decided[name])) <= len(row.after(decided["ours"])) for row, decided in good)


def cost() -> tuple[str, str, str, str, bool]:
    """The time of the processor for one look of 16 predicates, four of which may pass: the best of some rounds."""
    asked = [FAIL] * 12 + [PASS] * 4
    looks = Release(100, 30, noise=NOISY).run(Random("cost"))
    rounds = [_timed(asked, looks) for _ in range(20)]
    spent = min(rounds)
    return "one look of 16 predicates judged", "<= 0.5 ms of CPU", f"{1000 * spent:.2f} ms", "-", spent <= 0.0005


def _timed(asked: Sequence[Hypothesis], looks: Sequence[CountDelta]) -> float:
    states = [start(of) for of in asked]
    began = time.process_time()
    for delta in looks:
        states = [step(of, state, delta) for of, state in zip(asked, states, strict=True)]
        for of, state in zip(asked, states, strict=True):
            verdict(of, state, 0.95)
    return (time.process_time() - began) / len(looks)


def main() -> int:
    """Print the table; 0 whatever was measured: a figure that is missed is a finding, not a failure."""
    parser = argparse.ArgumentParser(prog="tests.bench.judge")
    parser.add_argument("only", nargs="?", default="", help="rows whose name has this in it (default: all)")
    parser.add_argument("--runs", type=int, default=2000, help="runs a row (default: 2000)")
    chosen = parser.parse_args()
    print(f"{chosen.runs} or more runs a row; looks of a minute, 10 % new, 0.2 % bad, 95 % confidence where not said")
    print("noise: AR(1) of the log bad ratios, 0.8 a look, sd 0.3 new, 0.1 old, 0.3 both\n")
    print("| row | to reach | ours | peers | |\n|---|---|---|---|---|")
    for name, bar, we, peers, reached in table(chosen.runs, chosen.only):
        print(f"| {name} | {bar} | {we} | {peers} | {'reached' if reached else 'MISSED'} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
