"""Always-valid tests of counts against a bound, for one side or for two, after any number of evaluations.

The counts come from `engine/analysis/counting.py`; the state goes into the plan's status, the verdict into decisions.

An evaluation is a series of trials, each a hit with a chance that the bound fixes. Against the old side, every bad
request of either side is a trial and one of the new side is a hit: where the bad ratios are in the ratio b, its chance
is b n / (b n + m), n and m being the requests of new and old. For one side alone, every request is a trial and a bad
one is a hit. An alternative multiplies the odds of a hit by r. An evaluation with h hits in k trials of chance p gives

    LR_j = r_j^h / (1 + (r_j - 1) p)^k        S_j <- (S_j + w) LR_j^(1 / phi)        E = sum q_j S_j + the rest of w

At the bound and below it, LR has a mean of at most 1, both given the number of trials and averaged over it, whatever
the ratio of an evaluation's bad requests. So E is a test supermartingale: the chance that it ever reaches 1 / alpha is
at most alpha, whenever the test stops and however the weights change. "Less than" is the same test with hits and
misses swapped.

- w mixes over the evaluation at which the fault began: half of it is for the first, the other half is spread over all
  evaluations. Only evaluations with trials that can be both hits and misses spend it. Without such trials LR is 1, and
  E is the same whether w was spent or not.
- phi tempers: it is the old side's dispersion over its evaluations before this one, 1 + c m for a mean of m bad
  requests. Where the old side has a smaller share of the traffic now than then, m is smaller by as much: the counts of
  a control group of 1 % vary hardly more than Poisson's law says. A test of one side has no phi.
- An evaluation cut into two parts of the same mix has the same LR, the product of its parts. It spends one w more, on
  a fault that began between the parts: E changes by that w times (q-weighted LR of the second part - 1), so it loses
  at most w.

S is stored as binary32 and never rounded up. So a state that was written and read back gives the same results as the
one in memory, and neither rounding nor the ceiling adds evidence.
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
"""The weight q of each alternative in the evidence; nearer ones weigh more."""

PLAIN: Final = 5
"""The prior: a dispersion of 1, with the weight of so many evaluations."""
CEILING: Final = 2.0**100
"""The most evidence kept for an alternative: binary32 overflows soon after, and no confidence needs more."""

_LOGS: Final = tuple(map(log, RATIOS))
_ALTERNATIVES: Final = tuple((log(ratio), ratio - 1) for ratio in RATIOS)
_SPREAD: Final = 0.5 / 2.11
_STEEPEST: Final = log(CEILING)
_ROUNDING: Final = 2.0**-23
_SINGLES: Final = struct.Struct(f">{ALTERNATIVES}f")


# ---- the hypothesis ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A comparison of counts. `bound` is a ratio of bad ratios where it is `paired`, else a bad ratio.

    It is tested in one direction, and for a pass predicate in the opposite one too: a refuted pass predicate need not
    wait for the deadline. Nothing follows from the refutation of a fail predicate, so that is not tested.
    """

    comparison: Comparison
    bound: float
    paired: bool
    above: bool
    role: Role


def make_hypothesis(comparison: Comparison, role: Role) -> Hypothesis:
    """The hypothesis for a comparison; a guard is a fail predicate. Raises ValueError with the fix."""
    text, paired = comparison.text, comparison.kind != "value"
    if comparison.op in ("==", "!="):
        raise ValueError(f'"{text}" cannot be proved with counts: write < or >')
    if comparison.kind == "absolute":
        raise ValueError(f'"{text}" is an absolute change, which counts cannot prove: write a ratio, such as "> 1.5x"')
    bound = 1 + comparison.number if comparison.kind == "relative" else comparison.number
    if paired and bound == 1:
        raise ValueError(f'"{text}" tests for equality, which gives false alarms from noise alone: allow a difference')
    if paired and not 0 < bound < inf:
        raise ValueError(f'"{text}" is not a bound for a ratio: write one above 0, such as "> 1.5x"')
    if not paired and not 0 < bound < 1:
        raise ValueError(f'"{text}" is not a bound for a share of bad requests: write one between 0% and 100%')
    return Hypothesis(comparison, bound, paired, comparison.op in (">", ">="), role)


# ---- the state -----------------------------------------------------------------------------------


class CountDelta(NamedTuple):
    """Requests between two instants and the bad ones among them. Whole numbers, bad <= total."""

    new_total: int
    new_bad: int
    old_total: int = 0
    old_bad: int = 0


_NOTHING: Final = (0.0,) * ALTERNATIVES
_UNSEEN: Final = CountDelta(0, 0)


class State(NamedTuple):
    """The sums over all evaluations so far."""

    looks: int = 0
    """The number of evaluations that counted."""
    rest: float = 1.0
    """The part of the weight that remains for faults that begin later."""
    proving: tuple[float, ...] = _NOTHING
    refuting: tuple[float, ...] = ()
    """S of each alternative; empty where that direction is not tested."""
    seen: CountDelta = _UNSEEN
    """The sums of requests over all evaluations."""
    old_looks: int = 0
    old_scatter: float = 0.0
    """The sum of bad^2 / total over the old side's evaluations."""


def start(hypothesis: Hypothesis) -> State:
    """The state before the first evaluation."""
    return State(refuting=_NOTHING if hypothesis.role == "pass" else ())


def step(hypothesis: Hypothesis, state: State, delta: CountDelta) -> State:
    """The state after one more evaluation."""
    new_total, new_bad, old_total, old_bad = delta
    if not new_total and not old_total:
        return state
    looks, rest, proving, refuting, seen = state.looks, state.rest, state.proving, state.refuting, state.seen
    hits, trials, (hit, miss) = (
        new_bad,
        new_bad + old_bad if hypothesis.paired else new_total,
        _chances(hypothesis, delta),
    )
    if trials and hit and miss:
        looks += 1
        weight = onset_weight(looks)
        rest = max(rest - weight, 0.0)
        power = 1 / dispersion_at(state, delta) if hypothesis.paired else 1.0
        up, down = (hits, trials, hit), (trials - hits, trials, miss)
        claim, opposite = (up, down) if hypothesis.above else (down, up)
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


def _chances(hypothesis: Hypothesis, delta: CountDelta) -> tuple[float, float]:
    """The chances of a hit and of a miss at the bound."""
    if not hypothesis.paired:
        return hypothesis.bound, 1 - hypothesis.bound
    new = hypothesis.bound * delta.new_total
    return new / (new + delta.old_total), delta.old_total / (new + delta.old_total)


def _grown(
    sums: Sequence[float], weight: float, power: float, hits: int, trials: int, chance: float
) -> tuple[float, ...]:
    gain, loss = power * hits, power * trials
    logs = [gain * log_ratio - loss * log1p(excess * chance) - _ROUNDING for log_ratio, excess in _ALTERNATIVES]
    if gain * _LOGS[-1] > _STEEPEST:
        logs = [min(x, _STEEPEST) for x in logs]
    grown = [(before + weight) * exp(x) for before, x in zip(sums, logs)]  # noqa: B905 - faster without strict
    if max(grown) > CEILING:
        grown = [min(s, CEILING) for s in grown]
    return _SINGLES.unpack(_SINGLES.pack(*grown))


def onset_weight(evaluation: int) -> float:
    """The weight of a fault that begins at this evaluation, counted from 1; all weights sum up to 1."""
    spread = _SPREAD / ((evaluation + 1) * log(evaluation + 1) * log(evaluation + 1))
    return spread + 0.5 if evaluation == 1 else spread


def dispersion(state: State) -> float:
    """How much more the old side's counts vary than Poisson's: Pearson's estimate, shrunk to 1 and never below."""
    total, bad, looks = state.seen.old_total, state.seen.old_bad, state.old_looks
    if looks < 2 or not bad:
        return 1.0
    pearson = (state.old_scatter * total / bad - bad) / (looks - 1)
    return max(1.0, (PLAIN + looks * pearson) / (PLAIN + looks))


def dispersion_at(state: State, delta: CountDelta) -> float:
    """The dispersion to be expected of the old side in an evaluation, at its share of the requests in that one."""
    now, seen = delta.old_total / (delta.new_total + delta.old_total), state.seen
    before = seen.old_total / (seen.new_total + seen.old_total) if seen.old_total else 0.0
    return 1 + (dispersion(state) - 1) * min(1.0, now / before) if before else 1.0


# ---- the verdict ---------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """The evidence for the comparison and for its opposite: 20 is proof at 95 %."""

    proving: float
    refuting: float


def evidence(state: State) -> Evidence:
    """The evidence so far. It is 0 for the opposite where that is not tested."""
    return Evidence(*(sum(map(mul, SHARES, s)) + state.rest if s else 0.0 for s in (state.proving, state.refuting)))


def verdict(hypothesis: Hypothesis, state: State, confidence: float, doubt: float = 1.0) -> Verdict:
    """The verdict at a confidence such as 0.95. A proof may leave only the part `doubt` of the doubt it allows.

    A fail predicate is never Refuted. A pass predicate is Refuted where its opposite is proved, even if it is proved
    too. A verdict is no longer Proved once later evaluations have reduced the evidence.
    """
    new_total, new_bad, old_total, old_bad = state.seen
    if not new_total or (hypothesis.paired and not old_total):
        words = f"no requests on the {'old' if new_total else 'new'} side"
        return Verdict(Outcome.UNDECIDED, samples=float(new_total), why=Why.NO_DATA, detail=words)
    found, enough = evidence(state), 1 / (1 - confidence)
    refuted = found.refuting >= enough
    needed = enough if refuted else enough / doubt
    outcome = Outcome.REFUTED if refuted else Outcome.PROVED if found.proving >= needed else Outcome.UNDECIDED
    words = f"new {new_bad} bad of {new_total}" + (f", old {old_bad} of {old_total}" if hypothesis.paired else "")
    plain = threshold.compare(
        hypothesis.comparison, new_bad / new_total, old_bad / old_total if hypothesis.paired else None
    )
    return Verdict(
        outcome,
        plain.value,
        float(new_total),
        Why.NOT_YET if outcome is Outcome.UNDECIDED else None,
        f"{words}; evidence {found.refuting if refuted else found.proving:.3g}, {needed:.4g} is proof",
        plain.holds,
        outweighed=outcome is not Outcome.UNDECIDED and plain.holds is not (outcome is Outcome.PROVED),
    )


# ---- serialization -------------------------------------------------------------------------------

_HEAD: Final = struct.Struct(">IdQQQQId")
_CHECK: Final = struct.Struct(">I")


def pack(hypothesis: Hypothesis, state: State) -> str:
    """Encode a state as base64, at most 340 characters."""
    sums = b"".join(_SINGLES.pack(*s) for s in (state.proving, state.refuting) if s)
    body = _HEAD.pack(state.looks, state.rest, *state.seen, state.old_looks, state.old_scatter) + sums
    return base64.b64encode(body + _CHECK.pack(_checksum(hypothesis, body))).decode()


def unpack(hypothesis: Hypothesis, text: str) -> State | None:
    """Decode a state exactly; None where the text is damaged or belongs to another hypothesis."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    body, check = raw[: -_CHECK.size], raw[-_CHECK.size :]
    if check != _CHECK.pack(_checksum(hypothesis, body)):
        return None
    try:
        looks, rest, *seen, old_looks, old_scatter = _HEAD.unpack_from(body)
        sums = tuple(_SINGLES.iter_unpack(body[_HEAD.size :]))
        return State(looks, rest, sums[0], sums[1] if len(sums) > 1 else (), CountDelta(*seen), old_looks, old_scatter)
    except (struct.error, LookupError):
        return None


def counted(text: str) -> CountDelta | None:
    """The requests in an encoded state of any hypothesis, for people; None where the text is damaged."""
    try:
        _, _, *seen, _, _ = _HEAD.unpack_from(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, struct.error):
        return None
    return CountDelta(*seen)


def _checksum(hypothesis: Hypothesis, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"1 {hypothesis.role} {hypothesis.comparison.text}".encode()))
