"""The sequential test: a supermartingale wherever the bound holds, by exact enumeration; and what changes nothing."""

from fractions import Fraction
from math import comb, fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.quantities import parse_is, parse_vs_old
from rolloutplan.stats.sequential import (
    CEILING,
    SHARES,
    CountDelta,
    Hypothesis,
    Role,
    State,
    dispersion,
    evidence,
    make_hypothesis,
    onset_weight,
    pack,
    start,
    step,
    unpack,
)

PAIRED = ("> 1.5x", "> 3x", "> 0.7x", "< 2x", "< 0.5x", "<= +5%")
ALONE = ("> 1%", "> 30%", "< 1%", "< 99%")
FEW = settings(max_examples=50)
ROLES: tuple[Role, ...] = ("fail", "pass")


def asked(bound: str, role: Role) -> Hypothesis:
    return make_hypothesis((parse_vs_old if bound in PAIRED else parse_is)(bound), role)


HYPOTHESES = st.builds(asked, st.sampled_from(PAIRED + ALONE), st.sampled_from(ROLES))


@st.composite
def looks(draw: st.DrawFn, most: int = 10**6) -> CountDelta:
    totals = [draw(st.integers(0, 20) | st.integers(0, most)) for _ in range(2)]
    new, old = (draw(st.integers(0, min(total, 20)) | st.integers(0, total)) for total in totals)
    return CountDelta(totals[0], new, totals[1], old)


HISTORIES = st.lists(looks(), max_size=4)


def after(of: Hypothesis, history: list[CountDelta]) -> State:
    state = start(of)
    for delta in history:
        state = step(of, state, delta)
    return state


# ---- validity ------------------------------------------------------------------------------------


@FEW
@given(
    st.sampled_from(PAIRED),
    HISTORIES,
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(0, 9),
    st.fractions(0, 1, max_denominator=50),
)
def test_no_ratio_within_the_bound_lets_evidence_grow_given_how_many_were_bad(
    bound: str, history: list[CountDelta], new: int, old: int, bad: int, below: Fraction
) -> None:
    """Bad requests come to the new side as a coin falls that the ratio and the requests fix."""
    of = asked(bound, "pass")
    state = after(of, history)
    rho0 = Fraction(of.bound)
    for within, proving in ((rho0 * below, of.above), (rho0 / (1 - below / 2), not of.above)):
        chance = within * new / (within * new + old)
        means = [
            (
                float(comb(bad, hits) * chance**hits * (1 - chance) ** (bad - hits)),
                CountDelta(new, hits, old, bad - hits),
            )
            for hits in range(bad + 1)
            if hits <= new and bad - hits <= old
        ]
        _does_not_grow(of, state, means, proving)


@FEW
@given(
    st.sampled_from(PAIRED),
    HISTORIES,
    st.integers(1, 4),
    st.integers(1, 4),
    st.fractions(0, 1, max_denominator=20),
    st.fractions(0, 1, max_denominator=20),
)
def test_nor_over_all_that_may_come(
    bound: str, history: list[CountDelta], new: int, old: int, usual: Fraction, below: Fraction
) -> None:
    """Every request of either side is bad by itself, at whatever ratio the look has, be it one half."""
    of = asked(bound, "pass")
    state = after(of, history)
    rho0 = Fraction(of.bound)
    for ratio, proving in ((rho0 * below, of.above), (rho0 / (1 - below / 2), not of.above)):
        if usual * ratio <= 1:
            _does_not_grow(of, state, list(_requests(new, usual * ratio, old, usual)), proving)


@FEW
@given(st.sampled_from(ALONE), HISTORIES, st.integers(1, 10), st.fractions(0, 1, max_denominator=50))
def test_nor_of_one_side_alone(bound: str, history: list[CountDelta], new: int, below: Fraction) -> None:
    of = asked(bound, "pass")
    state = after(of, history)
    p0 = Fraction(of.bound)
    for chance, proving in ((p0 * below, of.above), (1 - (1 - p0) * below, not of.above)):
        _does_not_grow(of, state, list(_requests(new, chance, 0, Fraction(0))), proving)


def _requests(new: int, new_bad: Fraction, old: int, old_bad: Fraction) -> list[tuple[float, CountDelta]]:
    """Every outcome of a look, with its probability."""
    return [
        (
            float(
                comb(new, hits)
                * new_bad**hits
                * (1 - new_bad) ** (new - hits)
                * comb(old, misses)
                * old_bad**misses
                * (1 - old_bad) ** (old - misses)
            ),
            CountDelta(new, hits, old, misses),
        )
        for hits in range(new + 1)
        for misses in range(old + 1)
    ]


def _does_not_grow(of: Hypothesis, state: State, outcomes: list[tuple[float, CountDelta]], proving: bool) -> None:
    """In the direction in which the bound holds, which is that of proving or of refuting."""
    side = 0 if proving else 1
    before = evidence(state)[side]
    mean = fsum(probability * evidence(step(of, state, delta))[side] for probability, delta in outcomes)
    assert mean <= before * (1 + 1e-15)


# ---- what changes nothing ------------------------------------------------------------------------


@FEW
@given(HYPOTHESES, HISTORIES)
def test_a_look_without_requests_changes_nothing(of: Hypothesis, history: list[CountDelta]) -> None:
    state = after(of, history)
    assert step(of, state, CountDelta(0, 0, 0, 0)) == state


@FEW
@given(HYPOTHESES, HISTORIES, st.integers(1, 10**6), st.integers(0, 50))
def test_a_look_that_can_say_nothing_leaves_the_evidence(
    of: Hypothesis, history: list[CountDelta], requests: int, bad: int
) -> None:
    state = after(of, history)
    silent = [CountDelta(0, 0, requests, min(bad, requests))]
    if of.paired:
        silent += [CountDelta(requests, min(bad, requests), 0, 0), CountDelta(requests, 0, requests, 0)]
    for delta in silent:
        assert evidence(step(of, state, delta)) == evidence(state)


PARTS = st.tuples(st.integers(1, 10**4), st.integers(0, 40), st.integers(0, 40))


@FEW
@given(st.sampled_from(PAIRED), st.sampled_from(ROLES), PARTS, PARTS, st.integers(1, 9), st.integers(1, 9))
def test_a_look_cut_in_two_of_the_same_mix(
    bound: str, role: Role, one: tuple[int, int, int], two: tuple[int, int, int], new: int, old: int
) -> None:
    """All that changes is the fault that may have begun between the parts: one weight more is spent on it."""
    of = asked(bound, role)
    first, second = (
        CountDelta(size * new, min(bad, size * new), size * old, min(worse, size * old))
        for size, bad, worse in (one, two)
    )
    _cut(of, start(of), first, second)


@FEW
@given(st.sampled_from(ALONE), st.sampled_from(ROLES), HISTORIES, PARTS, PARTS)
def test_a_look_of_one_side_cut_in_two(
    bound: str, role: Role, history: list[CountDelta], one: tuple[int, int, int], two: tuple[int, int, int]
) -> None:
    of = asked(bound, role)
    first, second = (CountDelta(size, min(bad, size)) for size, bad, _ in (one, two))
    _cut(of, after(of, history), first, second)


def _cut(of: Hypothesis, state: State, first: CountDelta, second: CountDelta) -> None:
    whole = step(of, state, CountDelta(*(a + b for a, b in zip(first, second, strict=True))))
    half = step(of, state, first)
    cut = step(of, half, second)
    assert cut.seen == whole.seen
    more = sum(onset_weight(delta) for delta in range(whole.looks + 1, cut.looks + 1))
    alone = step(of, start(of), second)
    for side in range(1 + (of.role == "pass")):
        sums = [(state.proving, state.refuting)[side] for state in (half, whole, cut, alone)]
        if max(map(max, sums)) > CEILING / 1000:
            continue  # more is not kept
        ratios = [s / onset_weight(1) for s in sums[-1]] if alone.looks else [1.0] * len(SHARES)
        between = more * (sum(share * ratio for share, ratio in zip(SHARES, ratios, strict=True)) - 1)
        before, after_ = evidence(whole)[side], evidence(cut)[side]
        assert after_ == pytest.approx(before + between, rel=1e-5)
        assert after_ >= before * (1 - 1e-5) - more


# ---- mirrors -------------------------------------------------------------------------------------


@FEW
@given(st.sampled_from((0.25, 0.5, 2.0, 4.0)), st.sampled_from(ROLES), looks(), st.integers(1, 5))
def test_swapping_the_sides_mirrors(bound: float, role: Role, delta: CountDelta, times: int) -> None:
    """New above `b` is old below 1 / b. The same look again and again has no noise, by which one side would temper."""
    of = make_hypothesis(parse_vs_old(f"> {bound}x"), role)
    mirrored = make_hypothesis(parse_vs_old(f"< {1 / bound}x"), role)
    there, here = after(of, [delta] * times), after(mirrored, [CountDelta(*delta[2:], *delta[:2])] * times)
    assert dispersion(there) == dispersion(here) == 1.0
    assert evidence(there) == pytest.approx(evidence(here), rel=1e-5)


@FEW
@given(st.sampled_from(("1%", "20%", "50%", "90%")), HISTORIES)
def test_of_one_side_good_and_bad_mirror(bound: str, history: list[CountDelta]) -> None:
    of = make_hypothesis(parse_is(f"> {bound}"), "pass")
    other = make_hypothesis(parse_is(f"< {100 - int(bound.removesuffix('%'))}%"), "pass")
    goods = [CountDelta(delta.new_total, delta.new_total - delta.new_bad) for delta in history]
    there, here = after(of, [CountDelta(*delta[:2]) for delta in history]), after(other, goods)
    assert evidence(there) == pytest.approx(evidence(here), rel=1e-5)


@FEW
@given(st.sampled_from(PAIRED + ALONE), HISTORIES)
def test_what_refutes_a_pass_predicate_is_what_proves_its_opposite(bound: str, history: list[CountDelta]) -> None:
    opposite = bound.translate(str.maketrans("<>", "><"))
    of = asked(bound, "pass")
    read = parse_vs_old if bound in PAIRED else parse_is
    against = after(make_hypothesis(read(opposite), "fail"), history)
    assert evidence(after(of, history)).refuting == evidence(against).proving


# ---- how it is kept ------------------------------------------------------------------------------


@FEW
@given(HYPOTHESES, st.lists(looks(10**9), max_size=8), st.integers(0, 8))
def test_a_state_that_was_written_and_read_goes_on_to_the_bit(
    of: Hypothesis, history: list[CountDelta], at: int
) -> None:
    live = after(of, history)
    restored = unpack(of, pack(of, after(of, history[:at])))
    assert restored is not None
    for delta in history[at:]:
        restored = step(of, restored, delta)
    assert restored == live
    assert pack(of, restored) == pack(of, live)


@FEW
@given(HYPOTHESES, HISTORIES, st.integers(1, 10**6))
def test_late_looks_are_as_safe_as_early_ones(of: Hypothesis, history: list[CountDelta], looks_before: int) -> None:
    state = after(of, history)._replace(looks=looks_before, rest=0.0)
    for delta in history:
        state = step(of, state, delta)
    assert all(value >= 0 for value in evidence(state))
    assert unpack(of, pack(of, state)) == state
