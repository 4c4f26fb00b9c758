"""The size of a Deployment in the API server."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.cluster.scale import to, what_scales
from rolloutplan.engine.model.actions import Scale
from rolloutplan.engine.model.snapshot import Scaled
from tests.world import START

SCALE = paths.scale("ns", "v2")
AUTOSCALERS = paths.autoscalers("ns")


class Server:
    """An API server of one Deployment's scale, and of autoscalers."""

    def __init__(self, *targets: tuple[str, str]) -> None:
        self.found: dict[str, Any] = {"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"replicas": 2}}
        refs = [{"kind": kind, "name": name} for kind, name in targets]
        self.items = [{"metadata": {"name": "by-load"}, "spec": {"scaleTargetRef": ref}} for ref in refs]
        self.patches: list[Any] = []
        self.refuses: ApiError | None = None

    async def list(self, path: str) -> dict[str, Any]:
        assert path == AUTOSCALERS
        return {"items": self.items}

    async def get(self, path: str, timeout: float | None = None) -> dict[str, Any]:
        assert path == SCALE
        return self.found

    async def patch(self, path: str, body: Any, timeout: float | None = None) -> dict[str, Any]:
        assert path == SCALE
        self.patches.append(body)
        if self.refuses:
            raise self.refuses
        return {}


def tried(server: Server, replicas: int = 5) -> Scaled:
    return asyncio.run(to(cast("Api", server), "ns", Scale("v2", replicas), START))


def test_the_size_is_set_on_condition_that_the_deployment_is_as_it_was_seen() -> None:
    server = Server(("Deployment", "v1"), ("StatefulSet", "v2"))
    assert tried(server) == Scaled("v2", START)
    assert server.patches == [{"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"replicas": 5}}]


def test_what_has_the_size_already_is_not_written() -> None:
    server = Server()
    assert tried(server, replicas=2) == Scaled("v2", START)
    assert server.patches == []


def test_what_an_autoscaler_scales_is_not_written() -> None:
    server = Server(("Deployment", "v2"))
    assert tried(server) == Scaled("v2", START, autoscaler="by-load")
    assert server.patches == []


def test_what_is_refused_is_an_error() -> None:
    server = Server()
    for error in (ApiError(403, "Forbidden"), ApiError(409, "Conflict"), ApiError(0, "Timeout")):
        server.refuses = error
        with pytest.raises(ApiError):
            tried(server)


LABEL = {"scaledobject.keda.sh/name": "checkout"}


@pytest.mark.parametrize(
    ("items", "name"),
    [
        ([], ""),
        ([{"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "gone"}}}], ""),
        ([{"metadata": {"name": "a"}}, {"spec": None}, "x"], ""),
        (
            [{"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "v2"}}}],
            "HorizontalPodAutoscaler a",
        ),
        (
            [
                {"metadata": {"name": "b"}},
                {
                    "metadata": {"name": "keda-hpa-checkout", "labels": LABEL},
                    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "v2"}},
                },
            ],
            "ScaledObject checkout",
        ),
    ],
)
def test_what_scales_a_deployment_is_named_as_a_person_knows_it(items: list[Any], name: str) -> None:
    assert what_scales({"items": items}, "v2") == name
