"""The record of a replay: one line of JSON for the input, and one for each query with its answer.

cli/replay.py writes it from a replay and reads it for a later one. It is self-contained, and its replay is the same to
the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from rolloutplan.api.parsing import SpecError
from rolloutplan.api.resolve import resolve, snapshot_lookup
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Weights
from rolloutplan.engine.model.queries import CountQuestion, Question
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.tools.replay import AnyQuestion, MetricAnswer, ReplayInput

Key: TypeAlias = tuple[datetime, str, str]


class RecordError(ValueError):
    """A record cannot be parsed; the message names the line."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="strings")


class _Header(_Line):
    record: Literal[1]
    namespace: str
    plan: str
    run: int
    spec: dict[str, Any]
    scrape: timedelta
    delay: timedelta
    timeout: timedelta
    start: AwareDatetime
    end: AwareDatetime
    weights: Weights
    stages: dict[str, AwareDatetime] | None


class _AnswerLine(_Line):
    """A query with its answer: a value, a gap, or `looks` (for each instance, all requests and the bad ones)."""

    asked: AwareDatetime
    predicate: str
    part: Literal["new", "old", "samples", "oldSamples", "oldBefore"]
    at: AwareDatetime
    looks: tuple[tuple[AwareDatetime, dict[str, tuple[float, float | None]]], ...] | None = None
    value: Annotated[float, Field(allow_inf_nan=True)] | None = None
    gap: Why | None = None
    detail: str = ""


class Record:
    """The answers of a record, by query."""

    def __init__(self, answers: Mapping[Key, MetricAnswer]) -> None:
        self._answers = answers

    def answer(self, now: datetime, question: AnyQuestion) -> MetricAnswer:
        """Return the answer to a query that ran at an instant. Raises RecordError.

        The answer to an optional query may be missing: the query did not run, or was not answered in time.
        """
        key = (now, question.name, question.part)
        if key not in self._answers and isinstance(question, Question) and question.optional:
            return Answer(gap=Why.NO_DATA, detail="not in the record")
        if key not in self._answers:
            asked = f"{question.name} ({question.part}) at {now.isoformat()}"
            raise RecordError(f"the record has no answer for {asked}: it is incomplete")
        return self._answers[key]


def header(replay_input: ReplayInput) -> str:
    """Return the first line of a record."""
    line = _Header(
        record=1,
        namespace=replay_input.namespace,
        plan=replay_input.name,
        run=replay_input.run,
        spec=dict(replay_input.raw),
        scrape=replay_input.source.scrape,
        delay=replay_input.source.delay,
        timeout=replay_input.source.timeout,
        start=replay_input.start,
        end=replay_input.end,
        weights=replay_input.weights,
        stages=None if replay_input.verified_at is None else dict(replay_input.verified_at),
    )
    return line.model_dump_json(by_alias=True)


def answer_line(now: datetime, question: AnyQuestion, metric_answer: MetricAnswer) -> str:
    """Return the line of a record for one query."""
    about = question.end if isinstance(question, CountQuestion) else question.at
    answer: dict[str, Any]
    if isinstance(metric_answer, Answer):
        answer = {"value": metric_answer.value, "gap": metric_answer.gap, "detail": metric_answer.detail}
    else:
        answer = {"looks": [(at, dict(sample)) for at, sample in metric_answer]}
    line = _AnswerLine(asked=now, predicate=question.name, part=question.part, at=about, **answer)
    return line.model_dump_json(exclude_defaults=True)


def read_record(lines: Iterable[str]) -> tuple[ReplayInput, Record]:
    """Parse a record. Raises RecordError with the number of the line."""
    replay_input: ReplayInput | None = None
    answers: dict[Key, MetricAnswer] = {}
    for number, text in enumerate(lines, 1):
        try:
            if replay_input is None:
                replay_input = _input_of(_Header.model_validate_json(text))
            else:
                line = _AnswerLine.model_validate_json(text)
                answers[line.asked, line.predicate, line.part] = _answer_of(line)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            words = f"{where}: {problem['msg']}" if where else problem["msg"]
            raise RecordError(f"line {number}: {words}") from None
        except SpecError as error:
            raise RecordError(f"line {number}: {error}") from None
    if replay_input is None:
        raise RecordError("line 1: the record is empty")
    return replay_input, Record(answers)


def _input_of(line: _Header) -> ReplayInput:
    if resolve(read_plan_spec(line.spec), snapshot_lookup(())).problems:
        raise SpecError("spec: it uses a template, which a record cannot have: record the run again")
    return ReplayInput(
        line.namespace,
        line.plan,
        line.spec,
        SourceView(line.scrape, line.delay, line.timeout),
        line.start,
        line.end,
        line.run,
        line.weights,
        line.stages,
    )


def _answer_of(line: _AnswerLine) -> MetricAnswer:
    if line.looks is not None:
        return line.looks
    return Answer(line.value, line.gap, line.detail)
