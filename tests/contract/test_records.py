"""Records of runs on a real API server: what it takes and refuses, a crash between any two requests, and pruning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from rolloutplan.api.limits import size_of
from rolloutplan.api.record import read_record, record_name
from rolloutplan.api.status import Decision
from rolloutplan.cli.main import main
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.loop.record_pruning import RecordPruning, Retention
from rolloutplan.publish.records import RecordSink, new_record
from tests.bed import Bed, objects
from tests.bed.processes import Stopwatch
from tests.situations import P, judging, m
from tests.unit.test_engine_record import long, recorded
from tests.world import START, World

NO_ANSWER = ApiError(0, "Timeout", "no answer")


class Falters:
    """A client whose request of this number is sent and not answered, or not even sent."""

    def __init__(self, api: Api, number: int, *, sent: bool) -> None:
        self._api, self._left, self._sent = api, number, sent

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        request = getattr(self._api, name)

        async def send(*arguments: Any, **more: Any) -> Any:
            self._left -= 1
            if not self._left and not self._sent:
                raise NO_ANSWER
            found = await request(*arguments, **more)
            if not self._left:
                raise NO_ANSWER
            return found

        return send


@pytest.fixture
def namespace(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KUBECONFIG", str(bed.kubeconfig()))
    name = f"records-{uuid4().hex[:6]}"
    bed.apply(objects.namespace(name))
    yield name
    bed.delete(objects.namespace(name))


@pytest.fixture(scope="module")
def success() -> World:
    return World(committed_at=START - m(30)).until(P.SUCCEEDED)


def at(world: World, namespace: str) -> Snapshot:
    snapshot = world.snapshot()
    return replace(snapshot, plan=replace(snapshot.plan, namespace=namespace))


def with_api(story: Callable[[Api], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        api = await Api.connect()
        try:
            await story(api)
        finally:
            await api.close()

    asyncio.run(whole())


def stored(bed: Bed, namespace: str) -> list[dict[str, Any]]:
    return list(bed.get(paths.record(namespace))["items"])


def test_the_record_of_a_run_is_taken_and_shown(bed: Bed, namespace: str, success: World) -> None:
    async def story(api: Api) -> None:
        sink = RecordSink(api)
        for decision in success.status.decisions:
            await sink.publish(at(success, namespace), decision)

    with_api(story)
    (raw,) = stored(bed, namespace)
    assert read_record(raw).status.decisions == success.status.decisions
    table = bed.kubectl(
        "get", "rr", "-n", namespace, "-l", "rolloutplan.dev/plan=plan,rolloutplan.dev/outcome=Succeeded"
    )
    heading, line = table.splitlines()
    assert heading.split() == ["NAME", "PLAN", "RUN", "OUTCOME", "REASON", "OWNER", "STARTED", "ENDED"]
    assert line.split()[1:5] == ["plan", "1", "Succeeded", "Succeeded"]


@pytest.mark.parametrize("sent", [True, False], ids=["after it", "before it"])
def test_whenever_the_operator_is_killed_the_record_has_each_decision_once(
    bed: Bed,
    namespace: str,
    success: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    sent: bool,
) -> None:
    """Killed at every request of the run in turn: the next leader begins again at what its cursor says, or before.

    What the records say about delivery is the same then, however many pages they fill.
    """
    decisions = success.status.decisions

    async def story(api: Api) -> None:
        for number in range(1, len(decisions) + 1):
            snapshot = at(success, namespace)
            snapshot = replace(snapshot, plan=replace(snapshot.plan, name=f"killed-{number}"))
            dying, following = RecordSink(Falters(api, number, sent=sent)), RecordSink(api)  # type: ignore[arg-type]
            through = 0
            for decision in decisions:
                try:
                    await dying.publish(snapshot, decision)
                except ApiError:
                    break
                through = decision.seq
            for decision in decisions[max(through - 2, 0) :]:
                await following.publish(snapshot, decision)

    with_api(story)
    found = stored(bed, namespace)
    assert len(found) == len(decisions)
    for raw in found:
        assert read_record(raw).status.decisions == decisions, raw["metadata"]["name"]
    monkeypatch.setattr("rolloutplan.cli.session.PAGE", 3)
    assert main(["list", "--dora", "-n", namespace, "--since", "99999h", "-o", "json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    lead = (success.now - START + m(30)).total_seconds()
    assert (total["changes"], total["failures"]) == (len(decisions), 0)
    assert total["leadSeconds"] == {"count": len(decisions), "median": lead, "p90": lead, "largest": lead}


def test_two_leaders_at_once_bring_no_decision_twice(bed: Bed, namespace: str, success: World) -> None:
    async def story(api: Api) -> None:
        async def lead() -> None:
            sink = RecordSink(api)
            for decision in success.status.decisions:
                await sink.publish(at(success, namespace), decision)

        await asyncio.gather(lead(), lead())

    with_api(story)
    (raw,) = stored(bed, namespace)
    assert read_record(raw).status.decisions == success.status.decisions


def test_what_somebody_removed_from_a_record_is_put_back(bed: Bed, namespace: str, success: World) -> None:
    *before, last = success.status.decisions
    removals: list[list[dict[str, Any]]] = [
        [{"op": "remove", "path": "/status/decisions"}],
        [{"op": "remove", "path": "/status"}],
        [{"op": "replace", "path": "/spec/run", "value": 9}, {"op": "remove", "path": "/status"}],
    ]

    async def story(api: Api) -> None:
        for number, removal in enumerate(removals):
            sink, snapshot = RecordSink(api), at(success, namespace)
            snapshot = replace(snapshot, plan=replace(snapshot.plan, name=f"harmed-{number}"))
            for decision in before:
                await sink.publish(snapshot, decision)
            name = record_name(snapshot.plan.name, snapshot.plan.uid, last.run)
            await api.patch(paths.record(namespace, name), removal, kind="json")
            await sink.publish(snapshot, last)

    with_api(story)
    assert [read_record(raw).status.decisions for raw in stored(bed, namespace)] == [success.status.decisions] * 3


def test_a_thousand_decisions_fit_and_the_next_is_written_soon(bed: Bed, namespace: str) -> None:
    took: list[float] = []
    snapshot = at(judging()(), namespace)
    record = recorded(*map(long, range(1, 1001)))

    async def story(api: Api) -> None:
        await api.create(paths.record(namespace), new_record(namespace, record))
        sink = RecordSink(api)
        for seq in range(1001, 1021):
            watch = Stopwatch()
            await sink.publish(snapshot, long(seq))
            took.append(watch.seconds())

    with_api(story)
    (raw,) = stored(bed, namespace)
    status = read_record(raw).status
    assert (status.seq, len(status.decisions) + status.folded) == (1020, 1020)
    print(f"{size_of(raw) // 1024} KiB; {sorted(took)[10]:.3f} s a decision, {max(took):.3f} s at the most")
    assert sorted(took)[10] < 1.0


def test_old_records_are_deleted_by_their_metadata(bed: Bed, namespace: str, success: World) -> None:
    async def story(api: Api) -> None:
        sink = RecordSink(api)
        for run in range(1, 6):
            for decision in (success.status.decisions[0], success.status.decisions[-1]):
                again: Decision = decision.model_copy(update={"run": run})
                await sink.publish(at(success, namespace), again)
        running = success.status.decisions[0].model_copy(update={"run": 9})
        await sink.publish(at(success, namespace), running)
        listed = await api.list_metadata(paths.record(namespace), limit=2)
        assert all(set(each) <= {"metadata", "kind", "apiVersion"} for each in listed["items"])
        assert listed["metadata"]["continue"]
        pruning = RecordPruning(api, {}, Retention(kept=2), leading=lambda: True, namespaces=(namespace,))
        task = asyncio.create_task(pruning.run())
        while len((await api.list_metadata(paths.record(namespace)))["items"]) > 3:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_api(story)
    kept = {raw["spec"]["run"]: raw["status"]["outcome"] for raw in stored(bed, namespace)}
    assert kept == {4: "Succeeded", 5: "Succeeded", 9: "Abandoned"}, "that of run 9 is closed: its plan is gone"
