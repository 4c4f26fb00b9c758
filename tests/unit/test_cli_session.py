"""The cluster as commands see it: a watch that goes on through every fault, and commands to many plans."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from rolloutplan.api.command import ANNOTATION, Command, Verb, read_command
from rolloutplan.cli import session as cli_session
from rolloutplan.cli.output import CliError
from rolloutplan.cli.sending import Answer, Outcome, Sending, Target, _answer
from rolloutplan.cli.session import Session, explain
from rolloutplan.cluster.client import Api, ApiError, Raw
from rolloutplan.cluster.paths import PLANS

CUT = ApiError(0, "ClientError", "connection reset")
GONE = ApiError(410, "Expired", "too old resource version")
BUSY = ApiError(503, "ServiceUnavailable", "starting")
NO_WATCH = ApiError(403, "Forbidden", "no")


def plan(name: str, version: int, **more: Any) -> Raw:
    return {"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": str(version)}, **more}


@dataclass
class Scripted:
    """An API server whose reads and watches are told in advance; what is asked of it afterwards never comes."""

    reads: list[list[Raw] | ApiError]
    streams: list[list[tuple[str, Raw] | ApiError]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The versions from which it was watched."""

    async def list(self, _: str, **__: Any) -> Raw:
        found = self.reads.pop(0)
        if isinstance(found, ApiError):
            raise found
        return {"metadata": {"resourceVersion": "7"}, "items": found}

    async def stream(self, _: str, **query: Any) -> AsyncIterator[Raw]:
        self.asked.append(query.get("resourceVersion", ""))
        for step in self.streams.pop(0) if self.streams else []:
            if isinstance(step, ApiError):
                raise step
            yield {"type": step[0], "object": step[1]}
        if not self.streams and not self.reads:
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "POLL_EVERY"):
        monkeypatch.setattr(cli_session, name, 0.001)


def seen(server: Scripted, number: int, lost: list[ApiError] | None = None) -> list[tuple[str, str, bool]]:
    """The first changes that a watch of all plans tells: name, version, and whether it is gone."""

    async def run() -> list[tuple[str, str, bool]]:
        found = []
        watch = Session(cast(Api, server), "shop").watch(PLANS, lost=(lost if lost is not None else []).append)
        async with asyncio.timeout(5), aclosing(watch) as changes:
            async for change in changes:
                meta = change.raw["metadata"]
                found.append((meta["name"], meta["resourceVersion"], change.gone))
                if len(found) == number:
                    break
        return found

    return asyncio.run(run())


A1, A2, A3, B1, B2 = plan("a", 1), plan("a", 2), plan("a", 3), plan("b", 1), plan("b", 2)


@pytest.mark.parametrize(
    ("reads", "streams", "told"),
    [
        ([[A1, B1]], [[("MODIFIED", A2)]], [("a", "1", False), ("b", "1", False), ("a", "2", False)]),
        ([[A1]], [[("ADDED", B1), ("DELETED", B2)]], [("a", "1", False), ("b", "1", False), ("b", "2", True)]),
        ([[A1], [A2]], [[CUT]], [("a", "1", False), ("a", "2", False)]),
        ([[A1], CUT, BUSY, [A2]], [[CUT]], [("a", "1", False), ("a", "2", False)]),
        ([[A1], [A1, B1]], [[GONE]], [("a", "1", False), ("b", "1", False)]),
        ([[A1, B1], [A1]], [[]], [("a", "1", False), ("b", "1", False), ("b", "1", True)]),
        ([[A1], [A1], [A3]], [[NO_WATCH], [NO_WATCH]], [("a", "1", False), ("a", "3", False)]),
        ([[A1], [A2]], [[("MODIFIED", cast(Raw, None))]], [("a", "1", False), ("a", "2", False)]),
    ],
    ids=["a change", "new and deleted", "cut", "long gone", "expired", "deleted meanwhile", "only read", "no object"],
)
def test_a_watch_tells_every_change_once_whatever_happens_to_it(
    reads: list[list[Raw] | ApiError],
    streams: list[list[tuple[str, Raw] | ApiError]],
    told: list[tuple[str, str, bool]],
) -> None:
    assert seen(Scripted([*reads], [*streams]), len(told)) == told


def test_a_watch_says_when_the_api_server_is_lost() -> None:
    lost: list[ApiError] = []
    seen(Scripted([[A1], BUSY, [A2]], [[CUT]]), 2, lost)
    assert lost == [CUT, BUSY]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_watch_ends_where_trying_again_would_not_help(status: int) -> None:
    error = ApiError(status, "No", "no")
    for reads in ([error], [[A1], error]):
        with pytest.raises(ApiError) as raised:
            seen(Scripted([*reads], [[CUT]]), 2)
        assert raised.value is error


# ---- commands to many plans ------------------------------------------------------------------------------------------


@dataclass
class Operator:
    """Plans, and an operator that answers each in its own way as soon as it has a command."""

    answers: Mapping[str, str | ApiError | None]
    """By plan: the reason of the decision; an error for the write; None: it is silent."""
    plans: dict[str, Raw] = field(default_factory=dict)
    news: asyncio.Queue[Raw] = field(default_factory=asyncio.Queue)

    async def create(self, *_: Any, **__: Any) -> Raw:
        return {"status": {"userInfo": {"username": "alice"}}}

    async def patch(self, path: str, body: Raw, **_: Any) -> Raw:
        name = path.rpartition("/")[2]
        answer = self.answers[name]
        if isinstance(answer, ApiError):
            raise answer
        written = plan(name, 2, status={"decisions": [{"seq": 4, "token": "t1", "reason": "Old"}]})
        written["metadata"] |= body["metadata"]
        token = read_command(body["metadata"]["annotations"][ANNOTATION]).token
        decisions = [
            *written["status"]["decisions"],
            {"seq": 5, "token": token, "reason": answer, "note": f"{name} says"},
        ]
        self.plans[name] = plan(name, 3, status={"decisions": decisions}) if answer else written
        return written

    async def list(self, *_: Any, **__: Any) -> Raw:
        return {"metadata": {"resourceVersion": "9"}, "items": [*self.plans.values()]}

    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[Raw]:
        for each in self.plans.values():
            yield {"type": "MODIFIED", "object": each}
        await asyncio.Event().wait()

    async def get(self, *_: Any, **__: Any) -> Raw:
        raise ApiError(404, "NotFound", "no OpenAPI")


def sent(answers: Mapping[str, str | ApiError | None], wait: float = 1.0) -> dict[str, Answer]:
    told: dict[str, Answer] = {}

    async def run() -> None:
        cluster = Session(cast(Api, Operator(answers)), "shop")
        sending = Sending(cluster, Command(Verb.PAUSE, "t1"), lambda answer: told.update({answer.target.name: answer}))
        await sending.to([Target("shop", name) for name in answers], wait)

    asyncio.run(run())
    return told


def test_each_of_many_plans_answers_for_itself() -> None:
    forbidden = ApiError(403, "Forbidden", "denied request: eve may not")
    told = sent({"a": "Paused", "b": "CommandRejected", "c": None, "d": forbidden, "e": "Paused"}, wait=0.2)
    assert {name: answer.outcome for name, answer in told.items()} == {
        "a": Outcome.DONE,
        "b": Outcome.REFUSED,
        "c": Outcome.UNANSWERED,
        "d": Outcome.FAILED,
        "e": Outcome.DONE,
    }
    assert told["a"].words == "a says"
    assert told["c"].words.startswith("no answer within 0.2 s; the command is on the plan")
    assert told["d"].words == "not allowed: denied request: eve may not"


def test_an_answer_of_earlier_is_none() -> None:
    """The decision on the same token that was there before is not taken for the answer."""
    assert sent({"a": None}, wait=0.05)["a"].outcome is Outcome.UNANSWERED


def test_a_hundred_plans_answer() -> None:
    told = sent({f"p{number}": "Paused" for number in range(100)}, wait=5)
    assert {answer.outcome for answer in told.values()} == {Outcome.DONE}


def test_who_does_not_wait_is_told_that_it_was_sent() -> None:
    assert {answer.outcome for answer in sent({"a": "Paused", "b": None}, wait=0).values()} == {Outcome.SENT}


@pytest.mark.parametrize(
    ("user", "namespace", "granted"),
    [
        ("eve", "shop", "--user=eve"),
        ("eve; rm -rf ~", "shop", "--user='eve; rm -rf ~'"),
        ("$(id)", "shop", "--user='$(id)'"),
        ("eve", "$(id)", "-n '$(id)' --role="),
        ("system:serviceaccount:ci:bot", "shop", "--serviceaccount=ci:bot"),
        ("system:serviceaccount:ci:`id`", "shop", "--serviceaccount=ci:'`id`'"),
        ("eve\nrolloutplan: all is well", "shop", "--user=NAME (NAME is the user's name"),
        ("https://eve:secret@idp", "shop", "--user=NAME (NAME is the user's name"),
    ],
)
def test_the_line_that_grants_a_right_can_be_pasted(user: str, namespace: str, granted: str) -> None:
    rights = f'User "{user}" cannot patch resource "rolloutplans" in API group "rolloutplan.dev"'
    assert granted in explain(ApiError(403, "Forbidden", f'{rights} in the namespace "{namespace}"'))


def test_an_answer_is_one_line() -> None:
    """Else a note could look like the answer of another plan."""
    decision = {"reason": "Paused", "note": "a\nshop/b: Paused"}
    assert _answer(Target("shop", "a"), decision).words == "a shop/b: Paused"


def test_the_rows_of_a_table_are_read_page_by_page() -> None:
    asked: list[Mapping[str, Any]] = []

    class Tables:
        async def list_table(self, _: str, **query: Any) -> Raw:
            asked.append(query)
            number = int(query.get("continue", 0))
            row = {"cells": [f"a{number}", number], "object": {"metadata": {"namespace": "shop"}}}
            more = {"continue": str(number + 1)} if number < 2 else {}
            return {"metadata": more, "columnDefinitions": [{"name": "Name"}, {"name": "Run"}], "rows": [row]}

    rows = asyncio.run(Session(cast("Api", Tables()), "shop").rows(PLANS, "a=b"))
    assert [(row.metadata, row.cells) for row in rows] == [
        ({"namespace": "shop"}, {"Name": f"a{number}", "Run": number}) for number in range(3)
    ]
    assert [(query["limit"], query.get("continue")) for query in asked] == [(500, None), (500, "1"), (500, "2")]
    assert {query["labelSelector"] for query in asked} == {"a=b"}


@pytest.mark.parametrize("read", ["objects", "rows"])
def test_a_selector_that_cannot_be_read_is_named(read: str) -> None:
    refused = ApiError(400, "BadRequest", "unable to parse requirement: found '!'")

    class Refusing:
        def __getattr__(self, _: str) -> Any:
            async def refuse(*_: Any, **__: Any) -> Raw:
                raise refused

            return refuse

    cluster = Session(cast("Api", Refusing()), "shop")
    with pytest.raises(CliError, match='-l: "!!" is no selector of labels: unable to parse') as raised:
        asyncio.run(getattr(cluster, read)(PLANS, "!!"))
    assert raised.value.code == 2
    with pytest.raises(ApiError):
        asyncio.run(getattr(cluster, read)(PLANS))
