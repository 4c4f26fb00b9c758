"""Always-valid tests on counts: what the bad requests of two sides, or of one, prove of a bound at any number of looks.

A look is a row of trials, each a hit with a chance that the bound fixes. Against the old side, every bad request of
either side is a trial and one of the new side is a hit: where the bad ratios are in the ratio b, its chance is
b n / (b n + m), n and m being the requests of new and old. Of one side alone, every request is a trial and a bad one is
a hit. An alternative multiplies the odds of a hit by r. A look with h hits in k trials of chance p then gives

    LR_j = r_j^h / (1 + (r_j - 1) p)^k        S_j <- (S_j + w) LR_j^(1 / phi)        E = sum q_j S_j + the rest of w

LR has a mean of at most 1 at the bound and below it, given the number of trials and also over it, at whatever ratio a
look's bad requests come. So E is a test supermartingale: the chance that it ever reaches 1 / alpha is at most alpha,
whenever one stops and however the weights change meanwhile. "Less than" is the same test with hits and misses swapped.

- w mixes over the look at which it went wrong: half of it is for the first, the other half is spread over all looks.
  Only looks that count spend it, those with trials that can be both, hits and misses. Without these LR is 1, and E the
  same whether it was spent or not.
- phi tempers: the old side's dispersion over its looks before this one. A test of one side has no such yardstick.
- A look cut in two of the same mix has the same LR, as the product of its parts. It spends one w more, on a fault that
  began between the parts: E changes by that w times (q-weighted LR of the second part - 1), so it loses w at most.

S is kept as binary32 and never rounded up: a state that was written and read back goes on as the live one does, and
neither rounding nor the ceiling ever adds evidence.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, log1p
from operator import mul
from typing import Final, Literal, NamedTuple, TypeAlias

from rolloutplan.api.quantities import Comparison
from rolloutplan.stats import threshold
from rolloutplan.stats.verdict import Outcome, Verdict, Why

Role: TypeAlias = Literal["pass", "fail"]

ALTERNATIVES: Final = 24
NEAREST: Final = 1.15
FARTHEST: Final = 20.0
RATIOS: Final = tuple(NEAREST * (FARTHEST / NEAREST) ** (j / (ALTERNATIVES - 1)) for j in range(ALTERNATIVES))
"""How far from the bound the alternatives lie."""
SHARES: Final = tuple(1 / ratio / sum(1 / other for other in RATIOS) for ratio in RATIOS)
"""How much of the evidence each of them has; the nearer ones weigh more."""

PLAIN: Final = 5
"""So many looks' worth of a dispersion of 1 are taken as seen beforehand."""
CEILING: Final = 2.0**100
"""More evidence for an alternative is not kept: binary32 ends soon after, and no confidence asks for it."""

_LOGS: Final = tuple(map(log, RATIOS))
_ALTERNATIVES: Final = tuple((log(ratio), ratio - 1) for ratio in RATIOS)
_SPREAD: Final = 0.5 / 2.11
_STEEPEST: Final = log(CEILING)
_ROUNDING: Final = 2.0**-23
_SINGLES: Final = struct.Struct(f">{ALTERNATIVES}f")


# ---- what is asked -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A comparison of counts. `bound` is a ratio of bad ratios where it is `paired`, else a bad ratio.

    Its evidence is looked for in one direction, and for a pass predicate in the opposite one too: that it is refuted
    lets nobody wait for the deadline. Nothing follows from a fail predicate's refutation, so none is looked for.
    """

    comparison: Comparison
    bound: float
    paired: bool
    above: bool
    role: Role


def hypothesis(comparison: Comparison, role: Role) -> Hypothesis:
    """Say what counts can prove of a comparison; a guard is a fail predicate. Raises ValueError with the fix."""
    text, paired = comparison.text, comparison.kind != "value"
    if comparison.op in ("==", "!="):
        raise ValueError(f'"{text}" cannot be proved with counts: write < or >')
    if comparison.kind == "absolute":
        raise ValueError(f'"{text}" is an absolute change, which counts do not prove: write a ratio, such as "> 1.5x"')
    bound = 1 + comparison.number if comparison.kind == "relative" else comparison.number
    if paired and bound == 1:
        raise ValueError(f'"{text}" asks whether both are equal, where noise alone gives false alarms: leave room')
    if paired and not 0 < bound < inf:
        raise ValueError(f'"{text}" is no bound for a ratio: write one above 0, such as "> 1.5x"')
    if not paired and not 0 < bound < 1:
        raise ValueError(f'"{text}" is no bound for a share of bad requests: write one between 0% and 100%')
    return Hypothesis(comparison, bound, paired, comparison.op in (">", ">="), role)


# ---- what was seen -------------------------------------------------------------------------------


class CountDelta(NamedTuple):
    """What came between two instants: requests and the bad ones among them. Whole numbers, bad <= total."""

    new_total: int
    new_bad: int
    old_total: int = 0
    old_bad: int = 0


_NOTHING: Final = (0.0,) * ALTERNATIVES
_UNSEEN: Final = CountDelta(0, 0)


class State(NamedTuple):
    """All that is remembered of the looks so far."""

    looks: int = 0
    """How many counted."""
    rest: float = 1.0
    """What is left of the weight for faults that begin later."""
    proving: tuple[float, ...] = _NOTHING
    refuting: tuple[float, ...] = ()
    """S of each alternative; empty where it is not looked for."""
    seen: CountDelta = _UNSEEN
    """The sums over all looks."""
    old_looks: int = 0
    old_scatter: float = 0.0
    """The sum of bad^2 / total over the old side's looks."""


def start(of: Hypothesis) -> State:
    """Before the first look."""
    return State(refuting=_NOTHING if of.role == "pass" else ())


def step(of: Hypothesis, state: State, delta: CountDelta) -> State:
    """The state after one more look."""
    new_total, new_bad, old_total, old_bad = delta
    if not new_total and not old_total:
        return state
    looks, rest, proving, refuting, seen = state.looks, state.rest, state.proving, state.refuting, state.seen
    hits, trials, (hit, miss) = new_bad, new_bad + old_bad if of.paired else new_total, _chances(of, delta)
    if trials and hit and miss:
        looks += 1
        weight = onset_weight(looks)
        rest = max(rest - weight, 0.0)
        power = 1 / dispersion(state) if of.paired else 1.0
        up, down = (hits, trials, hit), (trials - hits, trials, miss)
        claim, opposite = (up, down) if of.above else (down, up)
        proving = _grown(proving, weight, power, *claim)
        refuting = refuting and _grown(refuting, weight, power, *opposite)
    return State(
        looks,
        rest,
        proving,
        refuting,
        CountDelta(
            seen.new_total + new_total, seen.new_bad + new_bad, seen.old_total + old_total, seen.old_bad + old_bad
        ),
        state.old_looks + (old_total > 0),
        state.old_scatter + (old_bad * old_bad / old_total if old_total else 0.0),
    )


def _chances(of: Hypothesis, delta: CountDelta) -> tuple[float, float]:
    """The chances of a hit and of a miss at the bound."""
    if not of.paired:
        return of.bound, 1 - of.bound
    new = of.bound * delta.new_total
    return new / (new + delta.old_total), delta.old_total / (new + delta.old_total)


def _grown(
    sums: Sequence[float], weight: float, power: float, hits: int, trials: int, chance: float
) -> tuple[float, ...]:
    gain, loss = power * hits, power * trials
    logs = [gain * log_ratio - loss * log1p(excess * chance) - _ROUNDING for log_ratio, excess in _ALTERNATIVES]
    if gain * _LOGS[-1] > _STEEPEST:
        logs = [min(x, _STEEPEST) for x in logs]
    grown = [(before + weight) * exp(x) for before, x in zip(sums, logs)]  # noqa: B905 - as many, and it is quicker
    if max(grown) > CEILING:
        grown = [min(s, CEILING) for s in grown]
    return _SINGLES.unpack(_SINGLES.pack(*grown))


def onset_weight(delta: int) -> float:
    """The weight of a fault that begins at this look, counted from 1; all of them sum up to 1."""
    spread = _SPREAD / ((delta + 1) * log(delta + 1) * log(delta + 1))
    return spread + 0.5 if delta == 1 else spread


def dispersion(state: State) -> float:
    """By how much the old side's counts vary more than Poisson's: Pearson's estimate, shrunk to 1 and never below."""
    total, bad, looks = state.seen.old_total, state.seen.old_bad, state.old_looks
    if looks < 2 or not bad:
        return 1.0
    pearson = (state.old_scatter * total / bad - bad) / (looks - 1)
    return max(1.0, (PLAIN + looks * pearson) / (PLAIN + looks))


# ---- what follows --------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """How much the looks speak for the comparison and for its opposite: 20 is proof at 95 %."""

    proving: float
    refuting: float


def evidence(state: State) -> Evidence:
    """The evidence as it stands. The opposite's is 0 where it is not looked for."""
    return Evidence(*(sum(map(mul, SHARES, s)) + state.rest if s else 0.0 for s in (state.proving, state.refuting)))


def verdict(of: Hypothesis, state: State, confidence: float, doubt: float = 1.0) -> Verdict:
    """Say what the looks so far prove at a confidence such as 0.95, and refute; to prove may leave a part of the doubt.

    A fail predicate is never Refuted. A pass predicate is, where both it and its opposite are proved; and what was
    proved once is so no more when later looks have taken the evidence back.
    """
    new_total, new_bad, old_total, old_bad = state.seen
    if not new_total or (of.paired and not old_total):
        words = f"no requests on the {'old' if new_total else 'new'} side"
        return Verdict(Outcome.UNDECIDED, samples=float(new_total), why=Why.NO_DATA, detail=words)
    found, enough = evidence(state), 1 / (1 - confidence)
    refuted = found.refuting >= enough
    needed = enough if refuted else enough / doubt
    outcome = Outcome.REFUTED if refuted else Outcome.PROVED if found.proving >= needed else Outcome.UNDECIDED
    words = f"new {new_bad} bad of {new_total}" + (f", old {old_bad} of {old_total}" if of.paired else "")
    plain = threshold.compare(of.comparison, new_bad / new_total, old_bad / old_total if of.paired else None)
    return Verdict(
        outcome,
        plain.value,
        float(new_total),
        Why.NOT_YET if outcome is Outcome.UNDECIDED else None,
        f"{words}; evidence {found.refuting if refuted else found.proving:.3g}, {needed:.4g} is proof",
        plain.holds,
    )


# ---- how it is kept ------------------------------------------------------------------------------

_HEAD: Final = struct.Struct(">IdQQQQId")
_CHECK: Final = struct.Struct(">I")


def pack(of: Hypothesis, state: State) -> str:
    """Write a state as ASCII letters and digits, at most 340 of them."""
    sums = b"".join(_SINGLES.pack(*s) for s in (state.proving, state.refuting) if s)
    body = _HEAD.pack(state.looks, state.rest, *state.seen, state.old_looks, state.old_scatter) + sums
    return base64.b64encode(body + _CHECK.pack(_checksum(of, body))).decode()


def unpack(of: Hypothesis, text: str) -> State | None:
    """Read a state back to the bit; None where the text is damaged, or is that of another hypothesis."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    body, check = raw[: -_CHECK.size], raw[-_CHECK.size :]
    if check != _CHECK.pack(_checksum(of, body)):
        return None
    looks, rest, *seen, old_looks, old_scatter = _HEAD.unpack_from(body)
    sums = tuple(_SINGLES.iter_unpack(body[_HEAD.size :]))
    return State(looks, rest, sums[0], sums[1] if len(sums) > 1 else (), CountDelta(*seen), old_looks, old_scatter)


def _checksum(of: Hypothesis, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"1 {of.role} {of.comparison.text}".encode()))
