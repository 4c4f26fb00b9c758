"""One object that is too large or too deep stops neither the list nor the stream in which it comes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.limits import KIB, UNREAD
from rolloutplan.api.status_size import MAX_STATUS, bounded
from rolloutplan.cluster.decoding import MAX_BRACKETS, MAX_PART, Stream, decode, decode_list, load, shortened

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), VALUES)
GOOD = {"kind": "RolloutPlan", "metadata": {"name": "a", "namespace": "shop"}, "spec": {"x": ['{"', "\\"]}}
DEEP = "[" * 3000 + "]" * 3000
LARGE = json.dumps(']}\\"' * MAX_PART)


def with_spec(spec: str, metadata: str = '{"name": "b", "namespace": "shop"}') -> str:
    return f'{{"kind": "RolloutPlan", "metadata": {metadata}, "spec": {{"x": {spec}}}, "status": {{"phase": "Held"}}}}'


@given(OBJECTS, st.sampled_from((None, 1)))
def test_what_is_small_is_decoded_as_python_decodes_it(raw: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(raw, indent=indent)
    assert decode(text) == load(text.encode()) == raw
    body, items = decode_list(json.dumps({"kind": "List", "items": [raw, raw]}, indent=indent))
    assert (body, list(items)) == ({"kind": "List"}, [raw, raw])
    padded = text.replace("{", "{" + " " * MAX_PART, 1)
    assert decode(padded) == load(padded.encode()) == raw
    event = {"type": "ADDED", "object": raw}
    assert json.loads(shortened(json.dumps(event).replace('t": {', 't": {' + " " * MAX_PART, 1).encode())) == event


@pytest.mark.parametrize("spec", [DEEP, LARGE], ids=["deep", "large"])
def test_what_cannot_be_read_is_left_out_and_named(spec: str) -> None:
    found = decode(with_spec(spec))
    assert found["metadata"] == {"name": "b", "namespace": "shop"}
    assert found["status"] == {"phase": "Held"}
    assert "spec" not in found
    assert found[UNREAD].startswith("spec: ")
    assert found[UNREAD].endswith("are too large to read")


@pytest.mark.parametrize("spec", [DEEP, LARGE], ids=["deep", "large"])
def test_a_list_and_a_stream_go_on_past_it(spec: str) -> None:
    good = json.dumps(GOOD)
    text = f'{{"kind": "RolloutPlanList", "metadata": {{}}, "items": [{good}, {with_spec(spec)}, {good}]}}'
    answered = [load(text.encode())["items"]] if spec is DEEP else []
    for items in (list(decode_list(text)[1]), *answered):
        assert [item["metadata"]["name"] for item in items] == ["a", "b", "a"]
        assert [item.get("spec") for item in items] == [GOOD["spec"], None, GOOD["spec"]]
    lines = [f'{{"type": "ADDED", "object": {each}}}' for each in (good, with_spec(spec), good)]

    class Content:
        async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
            whole = "\n".join(lines).encode()
            for start in range(0, len(whole), n):
                yield whole[start : start + n]

    async def names() -> list[str]:
        body = b"".join([chunk async for chunk in Stream(Content()).iter_chunked(4096)])
        return [json.loads(line)["object"]["metadata"]["name"] for line in body.splitlines()]

    assert asyncio.run(names()) == ["a", "b", "a"]


def test_metadata_keep_what_can_be_read_of_them() -> None:
    metadata = f'{{"name": "b", "managedFields": {DEEP}, "annotations": {{"a": "b"}}}}'
    assert decode(with_spec("1", metadata))["metadata"] == {"name": "b", "annotations": {"a": "b"}}


WIDE = "[" + ",".join(["[]"] * (MAX_BRACKETS + 1)) + "]"
FORGED = '[{"a":1,"status":{"phase":"Succeeded"}},' + LARGE + "]"


def compact(spec: str, status: str = ',"status":{"phase":"Held"}') -> str:
    """A plan as the API server writes it: no white space, and `status` last."""
    return f'{{"kind":"RolloutPlan","metadata":{{"name":"b"}},"spec":{{"x":{spec}}}{status}}}'


@pytest.mark.parametrize("status", [',"status":{"phase":"Held"}', "", ',"status":{"phase":"Held"},"z":1'])
@pytest.mark.parametrize("spec", [DEEP, LARGE, WIDE, FORGED, f"[{WIDE},{DEEP}]"], ids=range(5))
def test_what_is_left_out_takes_nothing_else_with_it(spec: str, status: str) -> None:
    expected = json.loads(compact("1", status))
    del expected["spec"]
    text = compact(spec, status)
    answers = load(text.encode()), json.loads(shortened(f'{{"type":"ADDED","object":{text}}}'.encode()))["object"]
    listed = load(f'{{"apiVersion":"v1","items":[{text},{text}],"kind":"RolloutPlanList"}}'.encode())["items"]
    for found in (*answers, *listed):
        assert found.pop(UNREAD).startswith("spec: ")
        assert found == expected


def test_the_largest_status_is_read_however_it_is_escaped() -> None:
    status = {"phase": "Judging", "reason": "<" * (MAX_STATUS - 100)}
    assert bounded(status) is status
    text = json.dumps({"metadata": {"name": "b"}, "spec": {"x": "&" * (384 * KIB)}, "status": status})
    escaped = text.replace("<", "\\u003c").replace("&", "\\u0026")
    assert load(escaped.encode()) == json.loads(text)


def test_brackets_in_strings_are_no_levels_and_not_counted() -> None:
    spec = json.dumps("[{" * MAX_BRACKETS)
    assert load(compact(spec).encode())["spec"]["x"] == "[{" * MAX_BRACKETS


@pytest.mark.parametrize("text", ["", "{", '{"a"', '{"a":', '{"a": [', '{"a": "', "[1, 2", "nonsense", '{"a": }'])
def test_what_is_no_json_is_refused(text: str) -> None:
    padded = text + " " * (MAX_PART + 1)
    for read in (decode, lambda body: load(body.encode())):
        with pytest.raises((ValueError, IndexError)):
            read(padded)
