"""Webhooks of notifiers: what they get, and what follows when they are slow, dead, flaky, or answer with a redirect."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.api.status import Decision, Status
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.metrics.access import Access, SourceHosts
from rolloutplan.publish.notifications import LONGEST_PAUSE, LONGEST_RETRY_AFTER, PAUSED, Notifications
from rolloutplan.publish.notifiers import NotifierObject, read_notifier_object
from tests.certificates import Authority
from tests.receiver import Receiver
from tests.unit.test_metrics_credentials import serving, tls
from tests.unit.test_publish_formats import TRIPPED, UID, VIEW

NOW = TRIPPED.at + timedelta(seconds=1)
HERE = SourceHosts.read(["127.0.0.1", "localhost"])
HOSTS = SourceHosts.read(["127.0.0.1", "hangs.example.com"])


def notifier(
    url: str, *, name: str = "team", namespace: str = "shop", hosts: SourceHosts = HERE, **more: Any
) -> NotifierObject:
    raw = {
        "metadata": {"namespace": namespace, "name": name, "uid": f"u-{name}", "generation": 1},
        "spec": {"webhook": {"url": url}, **more},
    }
    kind = paths.NOTIFIERS if namespace else paths.CLUSTER_NOTIFIERS
    found = read_notifier_object(kind, raw, hosts=hosts)
    assert found.spec is not None, found.problem
    return found


class Sending:
    """The sinks, with the counts of what came of decisions, and a clock of the plan."""

    def __init__(self, hosts: SourceHosts = HERE, credentials: Path = Path("/nowhere")) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.shared = Notifications(Access(hosts, (), credentials), self._count)

    def _count(self, title: str, result: str) -> None:
        self.counts[title, result] += 1

    async def send(
        self,
        to: NotifierObject,
        decision: Decision = TRIPPED,
        now: datetime = NOW,
        *,
        recorded: bool = True,
        plan: PlanView = VIEW,
    ) -> None:
        status = Status(revert="kubectl patch httproute checkout")
        snapshot = Snapshot(plan=plan, status=status, now=now)
        await self.shared.sink(to).publish(snapshot, decision, recorded=recorded)

    def send_now(self, to: NotifierObject, decision: Decision = TRIPPED, now: datetime = NOW) -> None:
        asyncio.run(self.send(to, decision, now))


def test_a_webhook_gets_the_decision_with_a_key_that_repeats() -> None:
    sending = Sending()
    with Receiver().serving() as receiver:
        to = notifier(f"{receiver.url}/hook?a=b%2Fc", headers={"X-Team": "shop"})
        sending.send_now(to)
        sending.send_now(to)
    (path, headers, content), again = receiver.got
    assert path == "/hook?a=b%2Fc"
    assert headers["Idempotency-Key"] == again[1]["Idempotency-Key"] == f"{UID}/17"
    assert (headers["Content-Type"], headers["X-Team"]) == ("application/json", "shop")
    assert json.loads(content)["decision"]["reason"] == "RollbackStarted"
    assert json.loads(content)["undo"] == "kubectl patch httproute checkout"
    assert sending.counts == {("shop/team", "delivered"): 2}


def test_what_a_notifier_does_not_take_is_not_sent() -> None:
    sending = Sending()
    with Receiver().serving() as receiver:
        sending.send_now(notifier(receiver.url, decisions={"reasons": ["Succeeded"]}))
    assert not receiver.got
    assert not sending.counts


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_be_taken_later_is_sent_again(status: int) -> None:
    sending = Sending()
    with Receiver(status=status).serving() as receiver, pytest.raises(ApiError) as error:
        sending.send_now(notifier(receiver.url))
    assert error.value.status == status
    assert f'the webhook answers {status}, and says "ok"' in error.value.message
    assert sending.counts == {("shop/team", "failed"): 1}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_is_refused_for_good_is_given_up_and_counted(status: int) -> None:
    sending = Sending()
    with Receiver(status=status).serving() as receiver:
        to = notifier(receiver.url)
        sending.send_now(to)
    assert sending.counts == {("shop/team", "failed"): 1, ("shop/team", "given_up"): 1}
    assert f"refuses with {status}" in sending.shared.tally(to).trouble


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    sending = Sending()
    with Receiver().serving() as other, Receiver(status, {"Location": other.url}).serving() as receiver:
        to = notifier(receiver.url)
        sending.send_now(to)
    assert not other.got
    assert "a redirect, which is not followed" in sending.shared.tally(to).trouble
    assert sending.counts["shop/team", "given_up"] == 1


def test_of_a_huge_answer_only_the_first_bytes_are_read_and_shown_on_one_line() -> None:
    sending = Sending()
    huge = Receiver(500, body=b"\x1b[31mno\n" + b"x" * 10_000_000)
    with huge.serving() as receiver, pytest.raises(ApiError) as error:
        sending.send_now(notifier(receiver.url))
    assert len(error.value.message) < 300
    assert error.value.message.isprintable()
    assert huge.sent < 9_000_000


def test_a_receiver_that_limits_is_left_alone_for_as_long_as_it_says() -> None:
    sending = Sending()
    with Receiver(429, {"Retry-After": "120"}).serving() as receiver:
        to = notifier(receiver.url)
        for _ in range(3):
            with pytest.raises(ApiError) as error:
                sending.send_now(to)
    assert len(receiver.got) == 1
    assert error.value.reason == PAUSED
    assert sending.shared.tally(to).paused_until - time.monotonic() == pytest.approx(120, abs=30)
    assert error.value.retry_after == LONGEST_PAUSE


def test_a_webhook_that_was_corrected_is_asked_soon_whatever_the_former_one_answered() -> None:
    sending = Sending()
    with Receiver(429, {"Retry-After": "900"}).serving() as wrong, Receiver().serving() as right:
        with pytest.raises(ApiError) as error:
            sending.send_now(notifier(wrong.url))
        assert error.value.retry_after is not None
        assert error.value.retry_after <= LONGEST_PAUSE
        sending.send_now(notifier(right.url))
    assert len(right.got) == 1


FAR_ZONE = "Mon, 01 Jan 2024 00:00:00 +99999999999999"


@pytest.mark.parametrize(
    "after", ["999999999", "9" * 400, "Wed, 21 Oct 2099 07:28:00 GMT", FAR_ZONE, "soon", "-5", "٣"]
)
def test_no_receiver_puts_off_the_next_attempt_for_ever(after: str) -> None:
    sending = Sending()
    headers = {"Retry-After": after} if after.isascii() else {}
    with Receiver(503, headers).serving() as receiver, pytest.raises(ApiError) as error:
        sending.send_now(to := notifier(receiver.url))
    assert error.value.status == 503
    assert sending.shared.tally(to).paused_until - time.monotonic() <= LONGEST_RETRY_AFTER


def test_a_flaky_receiver_is_tried_again_and_then_trusted_again() -> None:
    sending = Sending()
    changes: list[str] = []
    with Receiver(500).serving() as receiver:
        to = notifier(receiver.url)
        sending.shared.changed = lambda: changes.append(sending.shared.tally(to).trouble)
        with pytest.raises(ApiError):
            sending.send_now(to)
        receiver.status, sending.shared.tally(to).paused_until = 200, 0.0
        sending.send_now(to)
    tally = sending.shared.tally(to)
    assert (tally.delivered, tally.failed, tally.failures) == (1, 1, 0)
    assert tally.last_delivery == NOW
    assert [bool(each) for each in changes] == [True, False]


def test_what_nobody_took_in_time_is_given_up_even_while_the_webhook_is_left_alone() -> None:
    sending = Sending()
    with Receiver(500).serving() as receiver:
        to = notifier(receiver.url, giveUpAfter="10m")
        with pytest.raises(ApiError):
            sending.send_now(to)
        sending.send_now(to, now=TRIPPED.at + timedelta(minutes=10, seconds=1))
    assert len(receiver.got) == 1
    assert sending.counts["shop/team", "given_up"] == 1


def test_an_answer_that_is_no_http_to_be_read_is_no_answer() -> None:
    sending = Sending()
    with Receiver(headers={"X-Long": "secret" * 20_000}).serving() as receiver, pytest.raises(ApiError) as error:
        sending.send_now(notifier(receiver.url))
    assert error.value.status == 0
    assert "secret" not in error.value.message


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + b"HTTP/1.1 404 Gone\r\nContent-Length: 9\r\n\r\n", 404),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"Content-Length: 0\r\n\r\n", None),
    ],
    ids=["body that never comes", "interim answers", "headers"],
)
def test_of_an_answer_the_first_bytes_are_read_and_its_status_counts(said: bytes, status: int | None) -> None:
    """All of it is read in the event loop: a webhook that floods would delay the rollbacks of every team."""
    sending = Sending()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            to = notifier(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout="1s")
            with suppress(ApiError):
                await sending.send(to)
            return sending.shared.tally(to).trouble

    trouble = asyncio.run(run())
    assert (f"refuses with {status}:" if status else "127.0.0.1") in trouble
    assert sending.counts["shop/team", "delivered"] == 0
    assert sending.counts["shop/team", "given_up"] == (status is not None)


def test_what_a_receiver_says_is_not_shown_where_it_was_shown_a_secret(tmp_path: Path) -> None:
    """Many servers repeat the path or a header of the request in their answer."""
    authority = Authority(tmp_path / "ca")
    with serving(tls(*authority.issue("server", "DNS:localhost"))) as server:
        server.wanted = "another"
        url, trust = f"https://localhost:{server.server_port}/hook", {"caBundle": "ca.crt"}
        for name, content in {"ca.crt": authority.ca.read_text(), "token": "abc", "url": url}.items():
            (tmp_path / name).write_text(content)
        sending = Sending(credentials=tmp_path)
        for spec in (
            {"webhook": {"url": url}, "auth": {"bearer": "token", **trust}},
            {"webhook": {"urlFile": "url"}, "auth": trust},
        ):
            raw = {"metadata": {"name": "a", "uid": str(spec)}, "spec": spec}
            to = read_notifier_object(paths.CLUSTER_NOTIFIERS, raw, hosts=HERE)
            asyncio.run(sending.send(to))
            assert "refuses with 401: check" in sending.shared.tally(to).trouble
    assert len(server.asked) == 2


def test_a_dead_receiver_is_no_answer() -> None:
    sending = Sending()
    with Receiver().serving() as receiver:
        gone = receiver.url
    with pytest.raises(ApiError, match=r"127\.0\.0\.1: Connect(ion refused| call failed)") as error:
        sending.send_now(notifier(gone))
    assert error.value.status == 0


def test_a_slow_receiver_is_left_after_its_timeout() -> None:
    sending = Sending()
    with (
        Receiver(hangs=threading.Event()).serving() as receiver,
        pytest.raises(ApiError, match=r"127\.0\.0\.1 gave no answer within 0\.1 s") as error,
    ):
        sending.send_now(notifier(receiver.url, timeout="100ms"))
    assert error.value.status == 0


def test_the_webhook_of_one_team_that_hangs_delays_no_other_team() -> None:
    sending = Sending()

    async def run(slow: str, quick: str) -> None:
        to = [notifier(slow, name=f"slow-{i}", timeout="8s") for i in range(16)]
        waiting = [asyncio.create_task(sending.send(each)) for each in to for _ in range(4)]
        for _ in range(32):
            await asyncio.to_thread(arrived.acquire, timeout=30)
        await sending.send(notifier(quick, namespace="pay"))
        assert not any(each.done() and each.exception() is None for each in waiting)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    arrived = threading.Semaphore(0)
    with Receiver(hangs=threading.Event(), arrived=arrived).serving() as receiver, Receiver().serving() as other:
        asyncio.run(run(receiver.url, other.url))
    assert len(other.got) == 1
    assert sending.counts["pay/team", "delivered"] == 1
    assert sending.shared.shares.used == 0


def test_the_plans_of_one_team_do_not_take_all_places_of_a_webhook_that_all_share() -> None:
    sending = Sending()
    answers = threading.Event()

    async def run(url: str) -> None:
        to = notifier(url, name="all", namespace="", timeout="8s")
        many = [asyncio.create_task(sending.send(to)) for _ in range(20)]
        other = asyncio.create_task(sending.send(to, plan=replace(VIEW, namespace="pay")))
        for _ in range(3):
            assert await asyncio.to_thread(receiver.arrived.acquire, timeout=30)
        assert {json.loads(content)["plan"]["namespace"] for _, _, content in receiver.got} == {"shop", "pay"}
        answers.set()
        await other
        for each in many:
            each.cancel()

    with Receiver(hangs=answers).serving() as receiver:
        asyncio.run(asyncio.wait_for(run(receiver.url), 60))


def test_the_names_of_one_team_that_cannot_be_looked_up_delay_no_other_team(monkeypatch: pytest.MonkeyPatch) -> None:
    sending, hangs, real = Sending(HOSTS), threading.Event(), socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **more: Any) -> Any:
        if host == "hangs.example.com":
            hangs.wait(30)
            host = "127.0.0.1"
        return real(host, *arguments, **more)

    async def run(url: str) -> None:
        to = [notifier("http://hangs.example.com", hosts=HOSTS, name=f"n{i}", timeout="100ms") for i in range(16)]
        for _ in range(3):  # a look-up goes on when its request is over
            await asyncio.gather(*(sending.send(each) for each in to for _ in range(2)), return_exceptions=True)
            for each in to:
                sending.shared.tally(each).paused_until = 0.0
        await sending.send(notifier(url, namespace="pay"))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with Receiver().serving() as receiver:
        try:
            asyncio.run(run(receiver.url))
        finally:
            hangs.set()
    assert sending.counts["pay/team", "delivered"] == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/latest", "is a link-local or metadata address"),
        ("http://127.0.0.1:9", "is a loopback address"),
        ("http://localhost:9", "leads to a loopback address"),
    ],
)
def test_no_notifier_may_post_to_addresses_that_nobody_allowed(url: str, words: str) -> None:
    sending = Sending(hosts=SourceHosts.read(["example.com"]))
    with pytest.raises(ApiError, match=words) as error:
        sending.send_now(notifier(url, namespace=""))
    assert error.value.status == 0


def test_a_name_is_looked_up_once_and_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the check and the connection its owner could give it another address."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **more: Any) -> Any:
        asked.append(host)
        there = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return real(there if host == "localhost" else host, *arguments, **more)

    sending = Sending()
    with Receiver().serving() as receiver:
        to = notifier(receiver.url.replace("127.0.0.1", "localhost"))
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        sending.send_now(to)
        with pytest.raises(ApiError, match="localhost leads to a link-local or metadata address"):
            sending.send_now(to)
    assert len(receiver.got) == 1
    assert receiver.got[0][1]["Host"].startswith("localhost:")
    assert asked == ["localhost", "localhost"]


def test_the_address_of_a_webhook_can_be_a_secret(tmp_path: Path) -> None:
    sending = Sending(credentials=tmp_path)
    raw = {"metadata": {"name": "slack", "uid": "u"}, "spec": {"webhook": {"urlFile": "slack", "format": "Slack"}}}
    to = read_notifier_object(paths.CLUSTER_NOTIFIERS, raw, hosts=HERE)
    for content, words in [
        (None, "credential file slack: not in"),
        ("nonsense secret", "holds no address of a webhook"),
        ("http://127.0.0.1/secret", "its address is not https"),
        ("https://127.0.0.1:9/secret", "the webhook"),
    ]:
        if content is not None:
            (tmp_path / "slack").write_text(content)
        sending.shared.tally(to).paused_until = 0.0
        with pytest.raises(ApiError, match=words) as error:
            sending.send_now(to)
        assert "secret" not in error.value.message


def test_a_token_comes_from_a_file_and_is_in_no_message(tmp_path: Path) -> None:
    raw = {
        "metadata": {"name": "a", "uid": "u"},
        "spec": {"webhook": {"url": "https://127.0.0.1:9"}, "auth": {"bearer": "token"}},
    }
    to = read_notifier_object(paths.CLUSTER_NOTIFIERS, raw, hosts=HERE)
    with pytest.raises(ApiError, match="credential file token: not in"):
        Sending(credentials=tmp_path).send_now(to)


def test_an_object_that_was_created_again_is_counted_anew() -> None:
    sending = Sending()
    with Receiver().serving() as receiver:
        to = notifier(receiver.url)
        sending.send_now(to)
    assert sending.shared.tally(to).delivered == 1
    again = read_notifier_object(
        paths.NOTIFIERS,
        {"metadata": {"namespace": "shop", "name": "team", "uid": "other"}, "spec": {"webhook": {"url": to_url(to)}}},
        hosts=HERE,
    )
    assert sending.shared.tally(again).delivered == 0
    sending.shared.keep([])
    assert sending.shared.tally(again).delivered == 0


def to_url(to: NotifierObject) -> str:
    assert to.spec is not None
    assert to.spec.webhook.url is not None
    return to.spec.webhook.url


@pytest.mark.parametrize(
    ("raw", "reason", "words"),
    [
        ({"webhook": {"url": "https://hooks.example/x"}}, "HostNotAllowed", "hooks.example:443 is not among the hosts"),
        ({"webhook": {"url": "https://hooks.example/x"}}, "HostNotAllowed", "--notifier-hosts"),
        ({}, "Invalid", "spec.webhook: required field is missing"),
        ({"webhook": 5}, "Invalid", "spec.webhook"),
        ({"template": "x" * 70_000, "webhook": {"url": "http://127.0.0.1"}}, "TooLarge", "64 KiB"),
    ],
)
def test_a_notifier_that_sends_nothing_says_why(raw: dict[str, Any], reason: str, words: str) -> None:
    meta = {"namespace": "shop", "name": "a", "uid": "u"}
    found = read_notifier_object(paths.NOTIFIERS, {"metadata": meta, "spec": raw}, hosts=HERE)
    assert found.spec is None
    assert found.view() is None
    assert found.reason == reason
    assert words in found.problem


def test_a_pause_grows_to_a_bound() -> None:
    tally = Sending().shared.tally(notifier("http://127.0.0.1"))
    assert [tally.pause(None) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert tally.paused_until <= time.monotonic() + 15.0
    assert datetime.now(UTC) > NOW
