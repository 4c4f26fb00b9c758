"""Run the operator's sequential test on counts from a CSV, for pipelines and for checking the test itself.

The counts come from a file or standard input; the verdict of each run is printed.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO, TypeAlias

import typer

from rolloutplan.api.quantities import Comparison, parse_is, parse_vs_old
from rolloutplan.cli.options import reads
from rolloutplan.cli.output import fail
from rolloutplan.stats.sequential import (
    CountDelta,
    Evidence,
    Hypothesis,
    evidence,
    make_hypothesis,
    pack,
    start,
    step,
    unpack,
)
from rolloutplan.stats.verdict import Outcome
from rolloutplan.tools.lint.comparisons import Role, judge_old, judge_value
from rolloutplan.tools.promql.meaning import Meaning

COLUMNS: Final = ("run", "look", *CountDelta._fields)
DIGITS: Final = 12
"""A count with more digits is treated as a mistake."""


LEAST_CONFIDENCE: Final = 0.5
RISING: Final = 6
"""A run of at least so many lines, whose totals rise from each to the next, looks like running totals. Totals of single
evaluations that vary by chance do that in one run of 720."""
RESTARTS: Final = 15
"""In a longer run, one line in so many may be lower, as where a counter starts again with its pod."""

Reading: TypeAlias = Literal["guessed", "per look", "totals"]
"""What a line counts: the requests since the line before, or all since the run began. Guessed is per look, unless the
file looks like running totals."""


class LineError(ValueError):
    """A line of the CSV cannot be used."""

    def __init__(self, at: int, column: str, why: str) -> None:
        super().__init__(f"line {at}, column {column}: {why}")


def judge(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=f"CSV with the columns {','.join(COLUMNS)}; - for standard input")
    ],
    vs_old: Annotated[
        Comparison | None,
        typer.Option(metavar="BOUND", parser=reads(parse_vs_old), help='compare with old, as "> 1.5x"'),
    ] = None,
    is_: Annotated[
        Comparison | None,
        typer.Option("--is", metavar="BOUND", parser=reads(parse_is), help='as "< 1%"; old columns may be left out'),
    ] = None,
    confidence: Annotated[
        float, typer.Option(metavar="SHARE", parser=reads(_confidence), help="95%, or 0.95 (the default)")
    ] = 0.95,
    role: Annotated[Literal["fail", "pass"], typer.Option(help="pass also tests for the opposite")] = "fail",
    totals: Annotated[
        bool,
        typer.Option(
            "--totals",
            help="each line has running totals, which are counted from the first line on; one that falls is refused",
        ),
    ] = False,
    per_look: Annotated[
        bool,
        typer.Option(
            "--per-look",
            help="each line has the requests since the line before (the default), also if it looks like running totals",
        ),
    ] = False,
) -> int:
    """Each line has the requests of one evaluation (look): those since the line before.

    Each run of the file gets a verdict, the evaluation that reached it, and the evidence, which says how many times
    better the counts fit a side beyond the bound than one at it. Exit 0, 2 if the file cannot be read.
    """
    comparison = vs_old or is_
    if comparison is None or (vs_old and is_):
        raise typer.BadParameter("give one of --vs-old and --is")
    if totals and per_look:
        raise typer.BadParameter("give one of --totals and --per-look, or none")
    reading: Reading = "totals" if totals else "per look" if per_look else "guessed"
    try:
        hypothesis = make_hypothesis(comparison, role)
        with _open(file) as opened:
            lines = _lines(opened, hypothesis.paired)
            counted = increases(lines) if reading == "totals" else lines
            runs = judged(counted, hypothesis, confidence)
        _check(runs, reading, file)
    except OSError as problem:
        return fail(f"{file} cannot be read: {problem.strerror or problem}", 2)
    except (ValueError, csv.Error) as problem:
        return fail(str(problem), 2)
    needed = 1 / (1 - confidence)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("run", "verdict", "look", "evidence", "needed", "meaning"))
    for name, run in runs.items():
        meaning = _meaning(run, comparison, needed)
        out.writerow((name, run.outcome, run.decided, f"{run.evidence:.6g}", f"{needed:.6g}", meaning))
    read = (
        "as running totals"
        if reading == "totals"
        else "as the requests since the line before (--totals: running totals)"
    )
    sys.stderr.write(
        f"each line was read {read}; evidence says how many times better the counts fit a side beyond the bound than "
        f"one at it, and {needed:.6g} of it is proof at {100 * confidence:g}%\n"
    )
    sys.stderr.write("".join(f"warning: {words}\n" for words in _traps(role, comparison)))
    return 0


def _traps(role: Role, comparison: Comparison) -> Iterator[str]:
    """Yield what `lint` says of such a bound for the share of bad requests."""
    share = Meaning("share", False, name="the share of bad requests")
    if comparison.kind == "value":
        traps = judge_value(role, share, comparison)
    else:
        traps = judge_old(role, share, comparison, counts=True)
    return (words for _, words in traps)


def _meaning(run: Run, comparison: Comparison, needed: float) -> str:
    """Return the verdict in words, such as: evidence 60.2 of 20 needed at evaluation 61: proved that it is > 1.5x."""
    evidence_words = f"evidence {run.evidence:.3g} of {needed:.4g} needed"
    if run.decided is None:
        evaluations = f"{run.lines} evaluation{'s' * (run.lines != 1)}"
        return f"{evidence_words} after {evaluations}: neither proved nor refuted that it is {comparison.text}"
    return f"{evidence_words} at evaluation {run.decided}: {run.outcome.lower()} that it is {comparison.text}"


def _check(runs: Mapping[str, Run], reading: Reading, file: str) -> None:
    """Refuse a file without counts, and runs that look like running totals. Raises ValueError."""
    if not runs:
        raise ValueError(f"{file} has no line of counts: write one for each evaluation below the header")
    for name, run in runs.items():
        steps = run.lines - 1
        if reading == "guessed" and run.lines >= RISING and run.rises >= steps - steps // RESTARTS:
            raise ValueError(
                f"run {name}: {run.rises} of its {steps} lines after the first have more requests than the line "
                f"before, as running totals do: write --totals if that is what they are, or --per-look if each line "
                f"counts its own requests alone"
            )


# ---- the test, run by run ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file; `at` is its number."""

    at: int
    run: str
    delta: int
    counts: CountDelta


@dataclass(slots=True)
class Run:
    """The state of a run. It is kept packed, because there may be many runs with their lines mixed."""

    state: str
    delta: int = -1
    outcome: Outcome = Outcome.UNDECIDED
    decided: int | None = None
    """The number of the evaluation that decided it."""
    evidence: float = 1.0
    lines: int = 0
    rises: int = 0
    """How many lines could be running totals that went on from the line before."""
    counts: CountDelta | None = None
    """Those of the last line."""


def increases(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield the requests since the line before, where each line has running totals. Raises LineError where one falls.

    What a run had counted before its first line is not known to be its own, so that line is only where counting begins.
    """
    before: dict[str, CountDelta] = {}
    for line in lines:
        former = before.get(line.run)
        before[line.run] = line.counts
        if former is None:
            yield replace(line, counts=CountDelta(0, 0))
            continue
        delta = CountDelta(*(now - then for now, then in zip(line.counts, former, strict=True)))
        for column, (now, then) in zip(CountDelta._fields, zip(line.counts, former, strict=True), strict=True):
            if now < then:
                fix = (
                    "leave out --totals if each line counts its own requests; begin another run where counters restart"
                )
                raise LineError(line.at, column, f"a running total falls from {then} to {now} in run {line.run}: {fix}")
        for total, bad, column in ((0, 1, "new_bad"), (2, 3, "old_bad")):
            if delta[bad] > delta[total]:
                words = f"{delta[bad]} more bad requests than in the line before, but only {delta[total]} more in all"
                raise LineError(line.at, column, f"{words} in run {line.run}")
        yield replace(line, counts=delta)


def judged(lines: Iterable[Line], hypothesis: Hypothesis, confidence: float) -> dict[str, Run]:
    """Judge every run up to its first decision. Raises LineError where the evaluations of a run are not in order."""
    needed, begin = 1 / (1 - confidence), pack(hypothesis, start(hypothesis))
    runs: dict[str, Run] = {}
    for name, group in groupby(lines, key=lambda line: line.run):
        run = runs.setdefault(name, Run(begin))
        state = unpack(hypothesis, run.state)
        assert state is not None  # it was packed here
        for line in group:
            if line.delta <= run.delta:
                raise LineError(line.at, "look", f"{line.delta} comes after {run.delta} in run {name}: sort by look")
            run.delta = line.delta
            run.rises += run.counts is not None and _goes_on(run.counts, line.counts)
            run.lines, run.counts = run.lines + 1, line.counts
            if run.decided is None:
                state = step(hypothesis, state, line.counts)
                _decide(run, evidence(state), needed)
        run.state = pack(hypothesis, state)
    return runs


def _goes_on(before: CountDelta, now: CountDelta) -> bool:
    """Whether a line could have running totals, after the one before it: more requests, and nothing fewer."""
    return now.new_total > before.new_total and all(then <= later for then, later in zip(before, now, strict=True))


def _decide(run: Run, found: Evidence, needed: float) -> None:
    run.evidence = found.proving
    if found.refuting >= needed:
        run.outcome, run.decided, run.evidence = Outcome.REFUTED, run.delta, found.refuting
    elif found.proving >= needed:
        run.outcome, run.decided = Outcome.PROVED, run.delta


# ---- reading -------------------------------------------------------------------------------------


def _open(name: str) -> AbstractContextManager[TextIO]:
    if name == "-":
        return nullcontext(sys.stdin)
    return Path(name).open(encoding="utf-8-sig", errors="replace", newline="")


def _lines(file: Iterable[str], paired: bool) -> Iterator[Line]:
    """Parse the file line by line. Raises LineError."""
    rows = csv.reader(file)
    header = [name.strip() for name in next(rows, [])]
    columns = COLUMNS if paired else COLUMNS[:4]
    if not header:
        raise ValueError(f"the file is empty: write a first line with the columns {','.join(columns)}")
    for name in columns:
        if header.count(name) != 1:
            raise LineError(1, name, f"this column must appear exactly once; {_header_fix(header, columns)}")
    places = [header.index(name) for name in columns]
    for row in rows:
        if not row:
            continue
        at = rows.line_num
        if len(row) != len(header):
            column = header[len(row)] if len(row) < len(header) else header[-1]
            raise LineError(at, column, f"{len(row)} values for {len(header)} columns")
        run, *texts = (row[place] for place in places)
        delta, *counts = (_number(at, *pair) for pair in zip(columns[1:], texts, strict=True))
        for column, total, bad in zip(("new_bad", "old_bad"), counts[::2], counts[1::2], strict=False):
            if bad > total:
                raise LineError(at, column, f"{bad} bad requests are more than the total of {total}")
        yield Line(at, run, delta, CountDelta(*counts))


def _header_fix(header: Sequence[str], columns: Sequence[str]) -> str:
    """Return what is wrong with a first line, as far as that can be seen, and the fix."""
    wanted = f"the columns are {','.join(columns)}"
    if len(header) == 1 and (found := re.search("[;\t|]", header[0])):
        return f"values are separated by commas, not by {found[0]!r}; {wanted}"
    if any(name.isdigit() for name in header):
        return f"the first line must name the columns; {wanted}"
    return f"the first line has {','.join(header)}; {wanted}"


def _number(at: int, column: str, text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise LineError(at, column, f'"{text}" is not a whole number of 0 or more')
    if len(digits) > DIGITS:
        raise LineError(at, column, f'"{text}" is too large for a count')
    return int(digits)


def _confidence(text: str) -> float:
    """Parse 95% or 95, as in a plan, or 0.95. Raises ValueError with the fix."""
    if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?%|[0-9]{2}|0?\.[0-9]{1,8}", text):
        fraction = "." in text and not text.endswith("%")
        number = float(text.removesuffix("%")) / (1 if fraction else 100)
        if number >= LEAST_CONFIDENCE:
            return number
    raise ValueError(f'"{text}" is not a confidence: write 50% or more and less than 100%, such as 95% or 0.95')
