"""Counts against a bound: what is asked, what is proved by how many looks, and how it is kept."""

import json
from collections.abc import Callable
from math import log, prod

import pytest

from rolloutplan.api.quantities import Comparison, parse_is, parse_vs_old
from rolloutplan.stats.sequential import (
    CEILING,
    CountDelta,
    Hypothesis,
    Role,
    State,
    dispersion,
    dispersion_at,
    evidence,
    make_hypothesis,
    onset_weight,
    pack,
    start,
    step,
    unpack,
    verdict,
)
from rolloutplan.stats.verdict import Outcome, Why

PROVED, REFUTED, UNDECIDED = Outcome.PROVED, Outcome.REFUTED, Outcome.UNDECIDED


def asked(bound: str, role: Role = "fail") -> Hypothesis:
    versus = bound.endswith("x") or any(sign in bound for sign in "+-")
    return make_hypothesis((parse_vs_old if versus else parse_is)(bound), role)


def after(of: Hypothesis, *looks: CountDelta) -> State:
    state = start(of)
    for delta in looks:
        state = step(of, state, delta)
    return state


# ---- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "bound", "paired", "above"),
    [
        ("> 1.5x", 1.5, True, True),
        (">= 1.5x", 1.5, True, True),
        ("< 2x", 2.0, True, False),
        ("<= 0.5x", 0.5, True, False),
        ("<= +5%", 1.05, True, False),
        ("> +50%", 1.5, True, True),
        ("> -20%", 0.8, True, True),
        ("< 1%", 0.01, False, False),
        ("> 0.001", 0.001, False, True),
    ],
)
def test_what_counts_can_prove(written: str, bound: float, paired: bool, above: bool) -> None:
    of = asked(written)
    assert of.bound == pytest.approx(bound)
    assert (of.paired, of.above) == (paired, above)


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (parse_vs_old("<= +0.2"), 'is an absolute change, which counts cannot prove: write a ratio, such as "> 1.5x"'),
        (parse_vs_old("== 2x"), "cannot be proved with counts: write < or >"),
        (parse_is("!= 1%"), "cannot be proved with counts: write < or >"),
        (Comparison(">", 1.0, "ratio", "> 1x"), "false alarms from noise alone"),
        (Comparison("<=", 0.0, "relative", "<= +0%"), "false alarms from noise alone"),
        (Comparison("<=", 1e-20, "relative", "<= +0.000000000000000001%"), "false alarms from noise alone"),
        (parse_vs_old("> 0x"), "write one above 0"),
        (parse_vs_old("< -100%"), "write one above 0"),
        (parse_is("> 0"), "write one between 0% and 100%"),
        (parse_is("< 100%"), "write one between 0% and 100%"),
        (parse_is("> -1%"), "write one between 0% and 100%"),
    ],
    ids=lambda value: value.text if isinstance(value, Comparison) else "",
)
def test_what_counts_cannot_prove_is_said_with_the_fix(comparison: Comparison, words: str) -> None:
    with pytest.raises(ValueError, match=r"^\".+\" ") as refused:
        make_hypothesis(comparison, "fail")
    assert words in str(refused.value)
    assert str(refused.value).startswith(f'"{comparison.text}" ')


# ---- the mathematics, written out a second time ---------------------------------------------------


def test_the_evidence_is_what_the_formula_says() -> None:
    looks = [
        CountDelta(600, 4, 5400, 11),
        CountDelta(620, 0, 5300, 25),
        CountDelta(1500, 9, 4500, 2),
        CountDelta(1500, 7, 4500, 14),
    ]
    weights = [0.5 / 2.11 / ((t + 1) * log(t + 1) ** 2) for t in (1, 2, 3, 4)]
    weights[0] += 0.5
    ratios = [1.15 * (20 / 1.15) ** (j / 23) for j in range(24)]
    expected = 1 - sum(weights)
    for ratio in ratios:
        q = (1 / ratio) / sum(1 / other for other in ratios)
        powers = [_likelihood(looks[t], 1.5, 1.5 * ratio) ** (1 / _phi_at(looks, t)) for t in range(len(looks))]
        expected += q * sum(weights[t] * prod(powers[t:]) for t in range(len(looks)))
    assert max(_phi_at(looks, t) for t in range(4)) > 1.5, "the old side is noisy enough to tell"
    assert _phi_at(looks, 2) < _phi(looks[:2]), "and its share falls in between"
    assert evidence(after(asked("> 1.5x"), *looks)).proving == pytest.approx(expected, rel=1e-5)


def _likelihood(delta: CountDelta, rho0: float, rho: float) -> float:
    p0, p = (r * delta.new_total / (r * delta.new_total + delta.old_total) for r in (rho0, rho))
    return float((p / p0) ** delta.new_bad * ((1 - p) / (1 - p0)) ** delta.old_bad)


def _phi(looks: list[CountDelta]) -> float:
    if len(looks) < 2:
        return 1.0
    mean = sum(delta.old_bad for delta in looks) / sum(delta.old_total for delta in looks)
    expected = [(delta.old_bad, mean * delta.old_total) for delta in looks]
    pearson = sum((bad - usual) ** 2 / usual for bad, usual in expected) / (len(looks) - 1)
    return max(1.0, (5 + len(looks) * pearson) / (5 + len(looks)))


def _phi_at(looks: list[CountDelta], t: int) -> float:
    """That of the looks before one, at the old side's share of the requests in that one."""
    before, (new, _, old, _) = looks[:t], looks[t]
    if not before:
        return 1.0
    seen = sum(delta.old_total for delta in before), sum(delta.new_total for delta in before)
    return 1 + (_phi(before) - 1) * min(1.0, old / (old + new) * sum(seen) / seen[0])


def test_of_one_side_the_evidence_is_that_of_a_coin() -> None:
    hits, trials, p0 = 14, 1000, 0.01
    ratios = [1.15 * (20 / 1.15) ** (j / 23) for j in range(24)]
    first = 0.5 + 0.5 / 2.11 / (2 * log(2) ** 2)
    expected = 1 - first
    for ratio in ratios:
        p = ratio * p0 / (1 - p0 + ratio * p0)
        q = (1 / ratio) / sum(1 / other for other in ratios)
        expected += first * q * (p / p0) ** hits * ((1 - p) / (1 - p0)) ** (trials - hits)
    assert evidence(after(asked("> 1%"), CountDelta(trials, hits))).proving == pytest.approx(expected, rel=1e-5)


def test_the_weights_of_all_looks_are_never_more_than_one() -> None:
    spent = sum(onset_weight(delta) for delta in range(1, 100_000))
    assert 0.95 < spent < 1
    assert onset_weight(1) > 0.5
    tail = 0.5 / 2.11 / log(100_000)  # an integral bounds what comes after
    assert spent + tail <= 1.0001


def test_the_old_side_s_noise_tempers_and_quiet_does_not() -> None:
    quiet = [CountDelta(600, 1, 5400, 11)] * 10
    noisy = [CountDelta(600, 1, 5400, bad) for bad in (2, 30) * 5]
    of = asked("> 1.5x")
    assert dispersion(after(of, *quiet)) == 1.0
    assert dispersion(after(of, *noisy)) > 5
    fault = CountDelta(600, 40, 5400, 11)
    calm, rough = (evidence(after(of, *looks, fault)).proving for looks in (quiet, noisy))
    assert calm > 20 * rough


def test_a_control_group_is_tempered_by_no_more_than_so_few_requests_vary() -> None:
    """What is noisy at 90 % of the traffic hides nothing at 1 % of it: too few bad requests to vary so much."""
    of, noisy = asked("> 1.5x"), [CountDelta(600, 1, 5400, bad) for bad in (3, 19) * 10]
    state, fault = after(of, *noisy), CountDelta(59400, 360, 600, 1)
    assert dispersion(state) > 3
    assert dispersion_at(state, fault) == pytest.approx(1 + (dispersion(state) - 1) / 90)
    assert dispersion_at(state, CountDelta(600, 1, 5400, 11)) == dispersion(state)
    assert dispersion_at(state, CountDelta(6, 1, 59400, 11)) == dispersion(state), "never more than was seen"
    assert dispersion_at(start(of), fault) == 1
    assert evidence(after(of, *noisy, *[fault] * 30)).proving > 20


def test_a_look_is_tempered_by_what_came_before_it_only() -> None:
    """Else the test would not be valid."""
    of = asked("> 1.5x")
    state = after(of, *[CountDelta(600, 1, 5400, 11)] * 3)
    bursts = [step(of, state, CountDelta(600, 6, 5400, bad)) for bad in (11, 400)]
    assert dispersion(bursts[0]) < dispersion(bursts[1])
    alone = after(of, CountDelta(600, 6, 5400, 400))
    assert evidence(bursts[1]).proving == pytest.approx(_one_more(state, alone), rel=1e-5)


def _one_more(state: State, alone: State) -> float:
    """The evidence after a look whose likelihood ratios are those that another saw alone, at phi 1."""
    ratios = [grown / onset_weight(1) for grown in alone.proving]
    weight = onset_weight(state.looks + 1)
    grown = tuple((s + weight) * ratio for s, ratio in zip(state.proving, ratios, strict=True))
    return evidence(state._replace(proving=grown, rest=state.rest - weight)).proving


# ---- what is proved ------------------------------------------------------------------------------

GOOD, BAD, WORSE = CountDelta(6000, 12, 54000, 108), CountDelta(6000, 24, 54000, 108), CountDelta(6000, 36, 54000, 108)


@pytest.mark.parametrize(
    ("bound", "role", "delta", "outcome"),
    [
        ("> 1.5x", "fail", GOOD, UNDECIDED),
        ("> 1.5x", "fail", WORSE, PROVED),
        ("> +50%", "fail", WORSE, PROVED),
        ("< 2x", "pass", GOOD, PROVED),
        ("< 2x", "pass", BAD, UNDECIDED),
        ("< 2x", "pass", WORSE, REFUTED),
        ("> 1.5x", "pass", GOOD, REFUTED),
        ("> 1.5x", "pass", WORSE, PROVED),
        ("< 2x", "fail", GOOD, PROVED),
        ("< 2x", "fail", WORSE, UNDECIDED),
        ("> 0.4%", "fail", WORSE, PROVED),
        ("> 0.4%", "fail", BAD, UNDECIDED),
        ("> 0.4%", "fail", GOOD, UNDECIDED),
        ("< 0.4%", "pass", GOOD, PROVED),
        ("< 0.4%", "pass", BAD, UNDECIDED),
        ("< 0.4%", "pass", WORSE, REFUTED),
        ("> 0.4%", "pass", GOOD, REFUTED),
    ],
)
def test_what_twenty_equal_looks_prove(bound: str, role: Role, delta: CountDelta, outcome: Outcome) -> None:
    of = asked(bound, role)
    found = verdict(of, after(of, *[delta] * 20), 0.95)
    assert (found.outcome, found.why) == (outcome, Why.NOT_YET if outcome is UNDECIDED else None)


@pytest.mark.parametrize(
    ("bound", "looks", "why", "words"),
    [
        ("> 1.5x", [], Why.NO_DATA, "no requests on the new side"),
        ("> 1.5x", [CountDelta(0, 0, 100, 1)], Why.NO_DATA, "no requests on the new side"),
        ("> 1.5x", [CountDelta(100, 100, 0, 0)], Why.NO_DATA, "no requests on the old side"),
        ("> 1%", [], Why.NO_DATA, "no requests on the new side"),
        ("> 1.5x", [CountDelta(1, 1, 1, 0)], Why.NOT_YET, "new 1 bad of 1, old 0 of 1; evidence"),
        ("> 1%", [CountDelta(1, 1)], Why.NOT_YET, "new 1 bad of 1; evidence"),
    ],
)
def test_too_little_proves_nothing_and_says_why(bound: str, looks: list[CountDelta], why: Why, words: str) -> None:
    of = asked(bound)
    found = verdict(of, after(of, *looks), 0.95)
    assert (found.outcome, found.why) == (UNDECIDED, why)
    assert found.detail.startswith(words)


def test_proof_needs_as_much_evidence_as_the_confidence_says() -> None:
    of = asked("> 1.5x")
    state = after(of, WORSE)
    odds = evidence(state).proving
    assert odds > 2
    assert verdict(of, state, 1 - 1.01 / odds).outcome is PROVED
    assert verdict(of, state, 1 - 0.99 / odds).outcome is UNDECIDED


@pytest.mark.parametrize(("delta", "outcome"), [(CountDelta(600, 0), PROVED), (CountDelta(600, 30), REFUTED)])
def test_to_prove_may_leave_a_part_of_the_doubt_only_and_to_refute_leaves_it_all(
    delta: CountDelta, outcome: Outcome
) -> None:
    of, states = asked("< 1%", "pass"), [start(asked("< 1%", "pass"))]
    while verdict(of, states[-1], 0.95).outcome is UNDECIDED:
        states.append(step(of, states[-1], CountDelta(*(n // 12 for n in delta))))
    assert verdict(of, states[-1], 0.95).outcome is outcome
    left = verdict(of, states[-1], 0.95, doubt=1e-3)
    assert left.outcome is (REFUTED if outcome is REFUTED else UNDECIDED)
    assert ("2e+04 is proof" in left.detail) is (outcome is PROVED)


def test_what_was_proved_is_taken_back_by_later_looks() -> None:
    of = asked("< 2x", "pass")
    good = after(of, *[GOOD] * 20)
    assert verdict(of, good, 0.95).outcome is PROVED
    later = [good]
    while verdict(of, later[-1], 0.95).outcome is PROVED:
        later.append(step(of, later[-1], WORSE))
    assert len(later) < 60
    assert verdict(of, later[-1], 0.95).outcome is REFUTED, "by the evidence since it went wrong"


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [("> 1.5x", 3.0, True), ("> +50%", 2.0, True), ("< 2x", 3.0, False), ("> 1%", 0.006, False)],
)
def test_what_was_measured_is_told_beside_what_is_proved(bound: str, value: float, holds: bool) -> None:
    of = asked(bound)
    found = verdict(of, after(of, WORSE), 0.95)
    assert found.value == pytest.approx(value)
    assert (found.holds, found.samples) == (holds, 6000)


def test_an_old_side_without_a_bad_request_has_no_ratio_but_gives_evidence() -> None:
    of = asked("> 1.5x")
    found = verdict(of, after(of, CountDelta(600, 12, 5400, 0)), 0.95)
    assert (found.outcome, found.value, found.holds) == (PROVED, None, True)


def test_a_fault_that_starts_late_is_not_paid_for_by_the_good_looks_before() -> None:
    of = asked("> 1.5x")
    fresh, late = start(of), after(of, *[GOOD] * 200)
    needed = []
    for state in (fresh, late):
        now, looks = state, 0
        while verdict(of, now, 0.95).outcome is UNDECIDED:
            now, looks = step(of, now, WORSE), looks + 1
        needed.append(looks)
    assert needed[0] < needed[1] <= needed[0] + 6


# ---- numbers of any size -------------------------------------------------------------------------

HUGE = 10**9


@pytest.mark.parametrize(
    ("bound", "delta", "outcome"),
    [
        ("> 1.5x", CountDelta(HUGE, HUGE, HUGE, 0), PROVED),
        ("> 1.5x", CountDelta(HUGE, 0, HUGE, HUGE), UNDECIDED),
        ("< 2x", CountDelta(HUGE, 0, HUGE, HUGE), PROVED),
        ("< 2x", CountDelta(HUGE, HUGE, HUGE, HUGE), PROVED),
        ("> 1.5x", CountDelta(1, 1, HUGE, 0), UNDECIDED),
        ("> 1.5x", CountDelta(HUGE, 1, 1, 1), UNDECIDED),
        ("< 2x", CountDelta(HUGE, 1, 1, 1), UNDECIDED),
        ("> 1%", CountDelta(HUGE, HUGE), PROVED),
        ("< 1%", CountDelta(HUGE, 0), PROVED),
        ("> 0.000000001", CountDelta(HUGE, HUGE), PROVED),
        ("< 0.999999999", CountDelta(HUGE, HUGE), UNDECIDED),
    ],
)
def test_counts_of_any_size(bound: str, delta: CountDelta, outcome: Outcome) -> None:
    for role in ("fail", "pass"):
        of = asked(bound, role)
        state = start(of)._replace(looks=10**6, rest=0.02)
        for _ in range(3):
            state = step(of, state, delta)
        assert all(0 <= s <= CEILING for s in state.proving + state.refuting)
        assert unpack(of, pack(of, state)) == state
        found = verdict(of, state, 0.95).outcome
        assert found is outcome or (role == "pass" and outcome is UNDECIDED and found is REFUTED)


# ---- how it is kept ------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "role"), [("< 2x", "pass"), ("> 1.5x", "fail"), ("< 1%", "pass")])
def test_a_state_is_short_and_plain(bound: str, role: Role) -> None:
    of = asked(bound, role)
    full = State(2**32 - 1, 0.1, (CEILING,) * 24, start(of).refuting, CountDelta(*[2**64 - 1] * 4), 2**32 - 1, 1e300)
    for state in (start(of), after(of, WORSE, BAD, GOOD), full):
        text = pack(of, state)
        assert unpack(of, text) == state
        assert len(text) <= 500
        assert json.dumps(text) == f'"{text}"' and text.isascii()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "0",
        lambda text: text[:-1],
        lambda text: text[:-4],
        lambda text: text + "AAAA",
        lambda text: "B" + text[1:],
        lambda text: text[:100] + ("A" if text[100] != "A" else "B") + text[101:],
        lambda text: text.replace(text[5], "!"),
        lambda text: "é" + text[1:],
        lambda text: "A" * len(text),
    ],
)
def test_a_damaged_state_is_none(damage: Callable[[str], str]) -> None:
    of = asked("> 1.5x")
    assert unpack(of, damage(pack(of, after(of, WORSE)))) is None


def test_a_state_of_another_hypothesis_is_none() -> None:
    of = asked("> 1.5x")
    text = pack(of, after(of, WORSE))
    for other in (
        asked("> 1.6x"),
        asked("< 1.5x"),
        asked("> 1.5x", "pass"),
        asked("> 15%"),
    ):
        assert unpack(other, text) is None
