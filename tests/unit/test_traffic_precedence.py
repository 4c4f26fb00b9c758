"""Which route loses requests once another one for the same host and path names methods (Gateway API, HTTPRouteRule)."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.traffic.precedence import asks, loser
from tests.unit.test_traffic_owned import ROOT, X, git, rule

Raw = dict[str, Any]


def header(name: str = "x-test", value: str = "1", **more: Any) -> Raw:
    return {**ROOT, "headers": [{"name": name, "value": value, **more}]}


def param(name: str, value: str) -> Raw:
    return {**ROOT, "queryParams": [{"name": name, "value": value}]}


PARAM = param("test", "1")
SOURCE = git(rule({"v1": 1, "v2": 0}), creationTimestamp="2026-01-02T00:00:00Z")


def third(*matches: Raw, created: str = "2026-01-03T00:00:00Z", **spec: Any) -> Raw:
    """Another route with the host and the parent of the source."""
    made = git(rule({"testers": 1}, *matches), name="testers", creationTimestamp=created)
    return {**made, "spec": {**made["spec"], **spec}}


def named(name: str, route: Raw) -> Raw:
    return {**route, "metadata": {**route["metadata"], "name": name}}


LOSES = [
    ("told apart by a header", SOURCE, third(header())),
    ("by a query parameter", SOURCE, third(PARAM)),
    ("in one of its matches", SOURCE, third(X, header())),
    ("the same, and older", SOURCE, third(created="2026-01-01T00:00:00Z")),
    ("without rules for matches", git({"backendRefs": []}), third(header())),
    ("it has no host, and so perhaps that of the listener", SOURCE, third(header(), hostnames=[])),
    ("the source has none", {**SOURCE, "spec": {**SOURCE["spec"], "hostnames": []}}, third(header())),
    ("one listener of the same gateway", SOURCE, third(header(), parentRefs=[{"name": "gw", "sectionName": "http"}])),
    ("the gateway by its namespace", SOURCE, third(header(), parentRefs=[{"name": "gw", "namespace": "a"}])),
    ("in another namespace", {**SOURCE, "spec": {**SOURCE["spec"], "parentRefs": [{"name": "gw", "namespace": "b"}]}},
     {**third(header()), "metadata": {"namespace": "b", "name": "testers"}}),
    ("more headers", git(rule({"v1": 1}, header())), third({**header(), "queryParams": PARAM["queryParams"]})),
    ("a method alone, against a header", git(rule({"v1": 1}, header())), third({**ROOT, "method": "GET"})),
    ("as old, and first by name", SOURCE, named("alpha", third(created="2026-01-02T00:00:00Z"))),
    ("another parameter, as case counts in these", git(rule({"v1": 1}, param("Test", "2"))),
     third({**header(), "queryParams": PARAM["queryParams"]})),
    ("a pattern may be the same value", git(rule({"v1": 1}, header(value="a.*", type="RegularExpression"))),
     third({**header(), "queryParams": PARAM["queryParams"]})),
]  # fmt: skip
KEEPS = [
    ("it names a method too", SOURCE, third({**header(), "method": "GET"})),
    ("another path", SOURCE, third({**header(), **X})),
    ("a longer prefix", SOURCE, third({**header(), "path": {"type": "PathPrefix", "value": "/api"}})),
    ("another host", SOURCE, third(header(), hostnames=["api.example"])),
    ("a wildcard, which is less special", SOURCE, third(header(), hostnames=["*.example"])),
    ("another gateway", SOURCE, third(header(), parentRefs=[{"name": "inner"}])),
    ("another listener", {**SOURCE, "spec": {**SOURCE["spec"], "parentRefs": [{"name": "gw", "sectionName": "https"}]}},
     third(header(), parentRefs=[{"name": "gw", "sectionName": "http"}])),
    ("the same, and younger: it gets nothing now", SOURCE, third()),
    ("as old, and second by name: it gets nothing now", SOURCE, third(created="2026-01-02T00:00:00Z")),
    ("another value of the same header", git(rule({"v1": 1}, header(value="2"))),
     third({**header(), "queryParams": PARAM["queryParams"]})),
    ("the source names the method itself", git(rule({"v1": 1}, {**ROOT, "method": "GET"})), third(header())),
    ("the route itself", SOURCE, SOURCE),
    ("nothing that can be read", SOURCE, {"metadata": 7, "spec": {"rules": [7, {"matches": ["odd"]}]}}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "other"), [case[1:] for case in LOSES], ids=[case[0] for case in LOSES])
def test_it_loses_its_requests(source: Raw, other: Raw) -> None:
    name = "/".join(other["metadata"][key] for key in ("namespace", "name"))
    assert loser(source, [SOURCE, other]).startswith(f"HTTPRoute {name} has the same host and path /, and the operator")


@pytest.mark.parametrize(("source", "other"), [case[1:] for case in KEEPS], ids=[case[0] for case in KEEPS])
def test_it_keeps_its_requests(source: Raw, other: Raw) -> None:
    assert loser(source, [other]) == ""


@pytest.mark.parametrize(
    ("created", "loses"), [("", False), ("2026-01-04T00:00:00Z", False), ("2026-01-02T12:00:00Z", True)]
)
def test_of_two_that_name_the_method_the_younger_one_loses(created: str, loses: bool) -> None:
    own = git(rule({"v1": 1, "v2": 0}), name="shop-rolloutplan", creationTimestamp=created) if created else None
    words = loser(SOURCE, [third({**ROOT, "method": "GET"})], own)
    assert bool(words) is loses
    assert "name one in each match" not in words, "it does already"


def test_weights_ask_for_nothing_else() -> None:
    assert asks(git(rule({"v1": 1, "v2": 0}))) == asks(git(rule({"v1": 0, "v2": 1})))
    assert asks(git(rule({"v1": 1}))) != asks(git(rule({"v1": 1}, header())))
