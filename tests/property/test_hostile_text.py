"""Arbitrary text in every annotation, every field and every answer: it is decided upon, and a rollback still happens.

Hypothesis looks for texts that a reader takes for a number, an instant, a name or a command, and that then raise.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolloutplan.api import safe_get
from rolloutplan.api.command import Verb
from rolloutplan.api.predicate import Events
from rolloutplan.api.status import Decision, Phase
from rolloutplan.engine.model.effects import Record
from rolloutplan.engine.model.snapshot import REVERT, SEQ
from rolloutplan.metrics.prometheus.counters import no_bound
from rolloutplan.metrics.prometheus.freshness import stale
from rolloutplan.metrics.prometheus.response import Instants, RowLabels, counts, each, number, parse_response
from rolloutplan.stats.verdict import Answer
from rolloutplan.tools.promql.queries import InstantSelector
from rolloutplan.traffic import read_undo
from tests import situations
from tests.property.test_broken_objects import SITUATIONS, Shop, anew, objects
from tests.repetition import times
from tests.world import World

NASTY = (
    *("²", "١٢", "9" * 5000, "-1", "+1", " 1", "1_0", "0x10", "1e309", "nan", "inf", "-0", "½", "", " ", "\n", "\r"),
    *("\x00", "\x1b]0;x\x07\x1b[2J", "\u202e", "\ud800", "\udfff", "😀", "'", '"', "`", "$(x)", "\\", "{", "}", "#"),
    *(
        "[" * 5000,
        '{"a":' * 3000,
        "x" * 70_000,
        "/",
        "~1",
        "~0",
        "..",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00Z",
    ),
    *("99999h", "100%", "%", "true", "null", "rolloutplan", "uid-default", "0123456789", "01234567"),
)
TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.text(alphabet="²0123456789.%/+- \n\x00\x1b\ud800٣eExXnNhms:TZ{}[]\"'\\#$", max_size=40),
    st.text(max_size=30),
)
COMMAND = st.builds(
    lambda verb, token, more, reason: f"{verb} {token}{more} --reason {reason}",
    st.one_of(st.sampled_from(list(Verb)), TEXT),
    st.one_of(st.just("t1"), TEXT),
    st.one_of(st.just(""), TEXT),
    TEXT,
)
TOKEN = st.builds(
    "{}/{}.{}.{}".format,
    TEXT,
    st.one_of(st.just("01234567"), TEXT),
    st.one_of(st.just("3"), TEXT),
    st.one_of(st.just("1"), TEXT),
)
UNDO = st.builds("kubectl -n ns patch httproutes.gateway.networking.k8s.io shop --type=json -p '{}'".format, TEXT)
VALUE: st.SearchStrategy[Any] = st.one_of(
    TEXT, COMMAND, TOKEN, UNDO, st.sampled_from([None, True, -1, 2**70, 1e308, float("inf"), [], {}]).map(copy.deepcopy)
)
QUIET = settings(
    max_examples=times(100), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


def leaves(raw: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value that is no list and no mapping, but of what the API server itself writes."""
    if isinstance(raw, dict | list):
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            if path[:1] != ("metadata",) or key not in ("name", "namespace", "uid", "resourceVersion", "generation"):
                yield from leaves(value, (*path, key))
    else:
        yield path


def placed(raw: dict[str, Any], path: tuple[str | int, ...], value: object) -> None:
    *above, last = path
    place: Any = raw
    for key in above:
        place = place[key]
    place[last] = value


PLAN = "rolloutplans.rolloutplan.dev plan"


@st.composite
def hostile(draw: st.DrawFn) -> tuple[str, Mapping[str, Any]]:
    """A situation, and some of its objects with arbitrary text in some places."""
    situation = draw(st.sampled_from(sorted(SITUATIONS)))
    known = objects(situation)[1]
    touched: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(known)))
        raw = touched.setdefault(name, anew(known[name]))
        if places := sorted(leaves(raw), key=str):  # none are left where what came before took them all
            placed(raw, draw(st.sampled_from(places)), draw(VALUE))
    if draw(st.booleans()):
        plan = touched.setdefault(PLAN, anew(known[PLAN]))
        plan["metadata"]["annotations"] = {
            "rolloutplan.dev/command": draw(COMMAND), REVERT: draw(st.one_of(TEXT, UNDO)),
            "rolloutplan.dev/command-by": draw(TEXT),
        }  # fmt: skip
    for name in known:
        if name.startswith("httproutes.") and draw(st.booleans()):
            route = touched.setdefault(name, anew(known[name]))
            route["metadata"]["annotations"] = {SEQ: draw(st.one_of(TEXT, TOKEN)), REVERT: draw(st.one_of(TEXT, UNDO))}
    return situation, touched


@QUIET
@given(hostile())
def test_no_text_in_any_object_makes_a_look_raise(case: tuple[str, dict[str, Any]]) -> None:
    situation, touched = case
    shop = Shop(situation, touched)
    known = {each.seq for each in shop.facts().status.decisions}
    for _ in range(3):
        for effect in shop.carry_out():
            if isinstance(effect.work, Record):
                shown(each for each in effect.work.status.decisions if each.seq not in known)


def shown(decisions: Iterable[Decision]) -> None:
    """What a person reads of them can be shown on any terminal."""
    for decision in decisions:
        for text in (decision.note, decision.believed, decision.observed, decision.by):
            assert text.replace("\n", "").isprintable(), text[:200]


class Looked(World):
    """Looked at as the loop does: after an exception, what led to it is reported."""

    def turn(self) -> bool:
        run = self.operator
        try:
            effects = run.advance(self.facts(), self.now)
        except Exception as error:  # noqa: BLE001 - as the loop does
            effects = run.report_fault(self.facts(), error, self.now)
        self.wake_at = effects.wake_at
        for effect in effects.todo:
            self.done.append(effect)
            run.on_result(effect, self.carry_out(effect), self.now)
        return bool(effects.todo)


@settings(max_examples=times(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seq=st.one_of(TEXT, TOKEN), undo=st.one_of(TEXT, UNDO), command=st.one_of(TEXT, COMMAND), on_plan=TEXT)
def test_a_due_rollback_happens_whatever_stands_in_the_annotations(
    seq: str, undo: str, command: str, on_plan: str
) -> None:
    world = situations.judging()()
    world.__class__ = Looked
    with contextlib.suppress(UnicodeError):
        world.write_undo(on_plan, by="mallory")
    world.say(command)
    world.write_undo(safe_get.text({"": undo}, ""), by="mallory", route="shop")
    world.routes["shop"] = copy.deepcopy(world.routes["shop"])
    world.routes["shop"]["metadata"]["annotations"][SEQ] = safe_get.text({"": seq}, "")  # as the API server stores it
    world.says["errors"] = 0.5
    world.pods(ready=0)
    for _ in range(40):
        world.turn()
    assert world.weights() == ({"v1": 100, "v2": 0},)
    # After the rollback a `retry` that was said before it may begin the next run.
    assert "RollbackStarted" in world.told() or world.phase is Phase.HELD


# ---- the answers of a source -----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
SAMPLE = st.one_of(JSON, st.tuples(st.one_of(st.floats(), st.integers(), TEXT), TEXT).map(list))
ROW = st.fixed_dictionaries(
    {"metric": st.one_of(JSON, st.dictionaries(st.sampled_from(["job", "instance", "le", "row"]), JSON, max_size=3))},
    optional={"value": SAMPLE, "values": st.one_of(JSON, st.lists(SAMPLE, max_size=3))},
)
DATA = st.fixed_dictionaries(
    {"resultType": st.one_of(st.sampled_from(["vector", "matrix", "scalar", "string"]), JSON)},
    optional={"result": st.one_of(JSON, SAMPLE, st.lists(ROW, max_size=4))},
)
ANSWER = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"status": st.one_of(st.sampled_from(["success", "error"]), JSON)},
        optional={"data": st.one_of(DATA, JSON), "warnings": JSON, "isPartial": JSON, "errorType": JSON, "error": JSON},
    ),
)
BODY = st.one_of(
    st.binary(max_size=200),
    ANSWER.map(lambda answer: json.dumps(answer).encode()),
    st.sampled_from(
        [b"[" * 100_000, b'{"status":"success","data":{"resultType":"scalar","result":[0,' + b"9" * 5000 + b"]}}"]
    ),
)
AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
SLOW = Events.model_validate({"histogram": 'http_seconds{a="b"}', "slowerThan": "500ms"})


@QUIET
@given(BODY, st.sampled_from([200, 204, 400, 422, 500, 503, 999]), st.sampled_from(["Prometheus", "Thanos"]))
def test_every_answer_of_a_source_is_a_number_or_a_gap_in_printable_words(body: bytes, code: int, flavor: str) -> None:
    rows = RowLabels("row", ("a", "b"))
    readers: list[Any] = [
        number, counts, Instants(AT, timedelta(seconds=15), 2), lambda result: each([number, counts], rows, result),
        lambda result: each([counts], rows, result),
    ]  # fmt: skip
    for read in readers:
        found = parse_response(code, body, read, flavor)
        if isinstance(found, Answer):
            assert found.detail.isprintable()
            found.detail.encode()
        elif isinstance(found, Mapping):
            no_bound(SLOW, found)


@QUIET
@given(st.dictionaries(TEXT.map("/{}".format), st.floats(allow_nan=False), max_size=6))
def test_no_label_of_a_histogram_makes_the_check_of_its_bounds_raise(found: dict[str, float]) -> None:
    assert isinstance(no_bound(SLOW, found), str)


@given(st.floats(allow_nan=False))
def test_no_time_of_a_sample_makes_the_check_of_its_age_raise(value: float) -> None:
    found = stale(InstantSelector("up", ""), Answer(value), AT)
    assert (found is None) == (value >= AT.timestamp())


@QUIET
@given(st.one_of(TEXT, UNDO, st.builds("{} && {}".format, UNDO, TEXT)))
def test_an_undo_command_is_read_exactly_or_not_at_all(text: str) -> None:
    for route in read_undo("ns", [text]):
        assert route.name == "shop"


@pytest.mark.parametrize("phase", Phase)
def test_there_is_a_situation_for_it(phase: Phase) -> None:
    """Where none of the situations is in a phase, nothing above would see what text does there."""
    assert any(objects(name)[0].phase is phase for name in SITUATIONS), phase
