"""One installation serves a cluster: another one sees it, does nothing, and takes over when it is gone."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.serving import EVERY, LASTS, NAME, Serving

PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


class Server:
    """An API server with one Lease at most, which refuses with `fault`."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.now, self.writes = 0.0, 0
        self.fault: ApiError | None = None
        self.faults: Mapping[str, ApiError] = {}
        """By the word for what is done: get, patch, create."""

    def _may(self, what: str) -> None:
        if fault := self.fault or self.faults.get(what):
            raise fault

    async def get(self, path: str, **_: object) -> dict[str, Any]:
        assert path == f"{PATH}/rolloutplan.dev"
        self._may("get")
        if self.lease is None:
            raise ApiError(404, "NotFound")
        return self.lease

    async def create(self, path: str, body: Mapping[str, Any], **_: object) -> dict[str, Any]:
        assert path == PATH
        self._may("create")
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists")
        return self._store(body)

    async def patch(self, path: str, body: Mapping[str, Any], **_: object) -> dict[str, Any]:
        self._may("patch")
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict")
        return self._store(body)

    def _store(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.writes)}}
        return self.lease

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""


class Installation(Serving):
    """One on this server, which leads on its own Lease or stands by."""

    def __init__(self, server: Server, name: str, *, leads: bool = True) -> None:
        self.told: list[str] = []
        super().__init__(
            server,  # type: ignore[arg-type]  # the three methods that it needs
            namespace="kube-system",
            installation=name,
            leading=lambda: leads,
            changed=self._tell,
            clock=lambda: server.now,
        )

    async def _tell(self, elsewhere: str) -> None:
        self.told.append(elsewhere)

    def looks(self) -> str:
        asyncio.run(self.look())
        return self.elsewhere


@pytest.fixture
def server() -> Server:
    return Server()


def pass_time(server: Server, seconds: float, *installations: Installation) -> None:
    end = server.now + seconds
    while server.now < end:
        server.now += EVERY
        for each in installations:
            each.looks()


def test_the_second_says_who_serves_and_how_to_end_that(server: Server) -> None:
    first, second = Installation(server, "system/first"), Installation(server, "other/second")
    assert (first.looks(), second.looks()) == ("", "system/first")
    with capture_logs() as logs:
        pass_time(server, 10 * LASTS, first, second)
    assert not logs, "it was said once"
    assert (first.elsewhere, second.elsewhere, server.holder) == ("", "system/first", "system/first")
    (why,) = second.waits_for()
    assert why.startswith("the installation system/first serves this cluster (Lease kube-system/rolloutplan.dev): ")
    assert why.endswith("uninstall one of the two, or give `namespaces` of the chart to both")
    assert (first.told, second.told) == ([], ["system/first"])


def test_the_second_takes_over_when_the_first_is_gone(server: Server) -> None:
    first, second = Installation(server, "system/first"), Installation(server, "other/second")
    first.looks()
    second.looks()
    pass_time(server, LASTS - EVERY, second)
    assert second.elsewhere
    pass_time(server, EVERY, second)
    assert (second.elsewhere, second.told, server.holder) == ("", ["system/first", ""], "other/second")
    assert first.looks() == "other/second", "and if it was not gone, it stands back"


@pytest.mark.parametrize("emptied", [False, True], ids=["deleted", "emptied"])
def test_a_lease_that_a_person_takes_away_goes_back_to_its_holder_whoever_looks_first(
    server: Server, emptied: bool
) -> None:
    first, second = Installation(server, "system/first"), Installation(server, "other/second")
    first.looks()
    second.looks()
    server.lease = {"metadata": {"name": NAME, "resourceVersion": "99"}, "spec": None} if emptied else None
    assert second.looks() == "system/first", "it goes on serving, so it is there"
    assert (first.looks(), server.holder, second.looks()) == ("", "system/first", "system/first")
    server.lease = None
    pass_time(server, LASTS, second)
    assert second.elsewhere
    pass_time(server, EVERY, second)
    assert (second.elsewhere, server.holder) == ("", "other/second"), "it was gone"


@pytest.mark.parametrize("spec", [None, {}, {"renewTime": "never", "leaseDurationSeconds": -1}, {"holderIdentity": ""}])
def test_a_lease_without_a_holder_is_taken(server: Server, spec: dict[str, Any] | None) -> None:
    server.lease = {"metadata": {"name": NAME, "resourceVersion": "99"}, "spec": spec}
    assert (Installation(server, "a/b").looks(), server.holder) == ("", "a/b")


def test_what_a_person_wrote_as_the_holder_is_shown_as_far_as_it_can_be_and_is_gone_after_a_while(
    server: Server,
) -> None:
    written = "nobody\x1b[31m" + "x" * 5000
    server.lease = {"metadata": {"name": NAME, "resourceVersion": "99"}, "spec": {"holderIdentity": written}}
    ours = Installation(server, "a/b")
    assert ours.looks() == written
    (why,) = ours.waits_for()
    assert "\x1b" not in why and len(why) < 1024, "an Event has room for it"
    pass_time(server, LASTS, ours)
    assert (ours.elsewhere, server.holder) == ("", "a/b")


def test_replicas_of_one_installation_do_not_wait_for_one_another_and_only_the_leader_renews(server: Server) -> None:
    leader, standby = Installation(server, "a/b"), Installation(server, "a/b", leads=False)
    assert (standby.looks(), leader.looks(), standby.looks()) == ("", "", "")
    written = server.writes
    pass_time(server, LASTS, standby)
    assert server.writes == written
    pass_time(server, EVERY, leader)
    assert server.writes == written + 1


def test_of_two_that_start_together_one_serves(server: Server) -> None:
    first, second = Installation(server, "a/first"), Installation(server, "b/second")

    async def together() -> None:
        await asyncio.gather(first.look(), second.look())

    asyncio.run(together())
    assert sorted([first.elsewhere, second.elsewhere]) == ["", server.holder]


@pytest.mark.parametrize("what", ["get", "patch", "create"])
@pytest.mark.parametrize("fault", [ApiError(403, "Forbidden", "no"), ApiError(0, "Timeout"), ApiError(503, "Busy")])
def test_what_cannot_be_asked_keeps_no_installation_from_its_work(server: Server, what: str, fault: ApiError) -> None:
    if what == "patch":
        Installation(server, "gone/before").looks()
    server.faults = {what: fault}
    ours = Installation(server, "a/b")
    with capture_logs() as logs:
        ours.looks()
        pass_time(server, 2 * LASTS, ours)
    assert not ours.elsewhere
    assert [line["event"] for line in logs].count("whether another installation serves this cluster is not known") == 1


def test_who_serves_elsewhere_still_counts_while_the_server_is_away(server: Server) -> None:
    Installation(server, "a/first").looks()
    second = Installation(server, "b/second")
    second.looks()
    server.fault = ApiError(0, "Timeout")
    pass_time(server, 5 * LASTS, second)
    assert second.elsewhere == "a/first"


def test_without_a_namespace_nothing_is_asked() -> None:
    server = Server()
    server.fault = ApiError(500, "InternalError")
    alone = Serving(
        server,  # type: ignore[arg-type]  # it is not called
        namespace="",
        installation="a/b",
        leading=lambda: True,
        changed=lambda _: asyncio.sleep(0),
    )
    with capture_logs() as logs:
        asyncio.run(alone.look())
    assert (alone.waits_for(), logs) == ([], [])


@pytest.mark.parametrize("verb", ["create", "patch"])
def test_a_write_that_always_meets_a_conflict_is_tried_twice_a_look_and_keeps_nobody_from_work(verb: str) -> None:
    server = Server()
    ours = Installation(server, "a/rp")
    if verb == "patch":
        asyncio.run(ours.look())
    server.faults = {verb: ApiError(409, "Conflict", "a webhook says so")}
    with capture_logs() as logs:
        asyncio.run(ours.look())
    assert [each["event"] for each in logs] == ["whether another installation serves this cluster is not known"]
    assert not ours.elsewhere
