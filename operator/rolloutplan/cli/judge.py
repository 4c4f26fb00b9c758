"""Run the operator's sequential test on counts from a CSV, for pipelines and for checking the test itself.

The counts come from a file or standard input; the verdict of each run is printed.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, TextIO, TypeVar

from rolloutplan.api.quantities import Comparison, parse_is, parse_vs_old
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

COLUMNS: Final = ("run", "look", *CountDelta._fields)
DIGITS: Final = 12
"""A count with more digits is treated as a mistake."""


LEAST_CONFIDENCE: Final = 0.5


class LineError(ValueError):
    """A line of the CSV cannot be used."""

    def __init__(self, at: int, column: str, why: str) -> None:
        super().__init__(f"line {at}, column {column}: {why}")


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `judge` to the parser."""
    parser.add_argument("file", metavar="FILE", help=f"CSV with the columns {','.join(COLUMNS)}; - for standard input")
    bound = parser.add_mutually_exclusive_group(required=True)
    bound.add_argument(
        "--vs-old", type=_argparse_type(parse_vs_old), metavar="BOUND", help='compare with old, as "> 1.5x"'
    )
    bound.add_argument(
        "--is",
        dest="is_",
        type=_argparse_type(parse_is),
        metavar="BOUND",
        help='as "< 1%%"; old columns may be left out',
    )
    parser.add_argument("--confidence", type=_argparse_type(_confidence), default=0.95, help="default: 95%%")
    parser.add_argument("--role", choices=("fail", "pass"), default="fail", help="pass also tests for the opposite")
    parser.set_defaults(run=_judge)


def _judge(chosen: argparse.Namespace) -> int:
    comparison: Comparison = chosen.vs_old or chosen.is_
    try:
        hypothesis = make_hypothesis(comparison, chosen.role)
        with _open(chosen.file) as file:
            runs = judge(_lines(file, hypothesis.paired), hypothesis, chosen.confidence)
    except (OSError, ValueError, csv.Error) as problem:
        return fail(str(problem), 2)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("run", "verdict", "look", "evidence"))
    out.writerows((name, run.outcome, run.decided, f"{run.evidence:.6g}") for name, run in runs.items())
    return 0


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


def judge(lines: Iterable[Line], hypothesis: Hypothesis, confidence: float) -> dict[str, Run]:
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
            if run.decided is None:
                state = step(hypothesis, state, line.counts)
                _decide(run, evidence(state), needed)
        run.state = pack(hypothesis, state)
    return runs


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
    for name in columns:
        if header.count(name) != 1:
            raise LineError(1, name, f"this column must appear exactly once; the columns are {','.join(columns)}")
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


def _number(at: int, column: str, text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise LineError(at, column, f'"{text}" is not a whole number of 0 or more')
    if len(digits) > DIGITS:
        raise LineError(at, column, f'"{text}" is too large for a count')
    return int(digits)


def _confidence(text: str) -> float:
    """Parse 95% or 0.95. Raises ValueError with the fix."""
    if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?%|0\.[0-9]{1,8}", text):
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if number >= LEAST_CONFIDENCE:
            return number
    raise ValueError(f'"{text}" is not a confidence: write 50% or more and less than 100%, such as "95%"')


_Parsed = TypeVar("_Parsed")


def _argparse_type(read: Callable[[str], _Parsed]) -> Callable[[str], _Parsed]:
    """Wrap a parser so that argparse prints its error message."""

    def reader(text: str) -> _Parsed:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reader
