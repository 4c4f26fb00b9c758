"""`rolloutplan replay`: what it prints, that a record prints the same, and each way in which it cannot be done."""

import importlib
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

import pytest
import yaml

from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.cli import plot
from rolloutplan.cli.main import main
from rolloutplan.cli.replay import Options, WrongError, source_to_ask
from tests.answering import HttpServer
from tests.refusals import changed
from tests.unit.test_cli import kubeconfig
from tests.world import PLAN, START

EVENTS = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
WORSE = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
SPEC = changed(PLAN, {"guards": [WORSE], "stages[0].pass": [], "stages[0].fail": []})
TIMES = ("--start", "2026-03-01T09:00:00Z", "--end", "2026-03-01T09:20:00Z")


class Prometheus(BaseHTTPRequestHandler):
    """Counts a hundred requests a second on each side since START, and three times the errors on the new one."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        seconds = float(form["time"]) - START.timestamp()
        rows = [row for part in form["query"].split(" or ") for row in self._rows(part, seconds, form["time"])]
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _rows(self, query: str, seconds: float, at: str) -> Iterator[dict[str, Any]]:
        if not 0 <= seconds <= 3600:
            return
        rate = 100 if "all{" in query else 9 if "v2" in query else 3
        labels = {"job": "shop", "instance": "a"}
        if '"q"' in query:
            labels["q"] = query.split('"q"')[1].split('"')[1]
        yield {"metric": labels, "value": [float(at), str(round(rate * seconds))]}

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HttpServer(Prometheus) as server:
        yield server.url


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "plan.yaml"
    meta = {"name": "checkout", "namespace": "shop"}
    file.write_text(yaml.safe_dump({"kind": "RolloutPlan", "metadata": meta, "spec": SPEC}))
    return file


def recorded(url: str, plan: Path, *more: str) -> int:
    return main(["replay", "--file", str(plan), *TIMES, "--prometheus", url, *more])


def test_a_record_prints_what_prometheus_printed(
    url: str, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looks, again = tmp_path / "looks.jsonl", tmp_path / "again.jsonl"
    assert recorded(url, plan, "--record", str(looks)) == 0
    first = capsys.readouterr()
    assert main(["replay", "--looks", str(looks), "--record", str(again)]) == 0
    assert capsys.readouterr() == first
    assert again.read_bytes() == looks.read_bytes()


def test_a_template_may_stand_beside_the_plan(url: str, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recorded(url, plan) == 0
    first = capsys.readouterr().out
    (written,) = yaml.safe_load_all(plan.read_text())
    written["spec"]["guards"] = [{"template": "worse"}]
    template = {
        "kind": "PredicateTemplate",
        "metadata": {"name": "worse"},
        "spec": {"indicates": "Failure", "events": EVENTS, "vsOld": "> 1.5x"},
    }
    plan.write_text(yaml.safe_dump_all([written, template]))
    assert recorded(url, plan) == 0
    assert capsys.readouterr().out == first
    plan.write_text(yaml.safe_dump(written))
    assert recorded(url, plan) == 2
    assert "spec.guards[0]: template worse is not in this file: add it to the file" in capsys.readouterr().err


def test_it_prints_looks_decisions_and_evidence(url: str, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recorded(url, plan) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "shop/checkout run 1, from 2026-03-01T09:00:00.000Z"
    assert lines[2].split() == ["instant", "stage", "predicate", "verdict", "value", "samples", "evidence"]
    assert lines[3].split() == ["2026-03-01T09:00:00.000Z", "canary", "worse", "Undecided", "(NoData)", "0", "1"]
    tripped = next(line for line in lines[3:] if "Tripped" in line).split()
    assert tripped[1:6] == ["canary", "worse", "Tripped", "3x", "1500"]
    assert float(tripped[6]) >= 20
    told = next(line for line in lines if "RollbackStarted" in line)
    assert told.endswith("Rollback RollbackStarted canary 5% -> 0%")
    assert any(line.startswith("    20 │─") for line in lines), "the line of proof"
    assert "the replay ends in phase RolledBack" in lines


def test_a_dry_run_is_shown_and_does_not_end_it(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tried = {**WORSE, "dryRun": True}
    lenient = {**WORSE, "name": "much-worse", "vsOld": "> 9x"}
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"kind": "RolloutPlan", "spec": changed(SPEC, {"guards": [lenient, tried]})}))
    assert recorded(url, plan) == 0
    out = capsys.readouterr().out
    assert "worse (dry run)" in next(line for line in out.splitlines() if "Tripped" in line)
    assert "RollbackStarted" not in out


def test_the_evidence_is_drawn_as_svg(url: str, plan: Path, tmp_path: Path) -> None:
    file = tmp_path / "evidence.svg"
    assert recorded(url, plan, "--plot", str(file)) == 0
    root = ET.fromstring(file.read_text())
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "worse: evidence after each evaluation, 20 is proof" in texts
    assert "canary" in texts


def test_png_wants_a_library_and_names_the_extra(
    url: str, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    file = tmp_path / "evidence.png"
    assert recorded(url, plan, "--plot", str(file)) == 1
    assert capsys.readouterr().err == "rolloutplan: PNG needs Pillow: install rolloutplan[plot], or write an SVG\n"
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give one of PLAN, --file and --looks"),
        (["checkout", "--looks", "x"], 2, "give one of PLAN, --file and --looks"),
        (["--file", "PLAN"], 2, "--file needs --prometheus URL and --start TIME"),
        (["checkout", *TIMES], 2, "--start and --end are only for --file"),
        (["--looks", "x", "--prometheus", "http://p"], 2, "--prometheus is not allowed with --looks"),
        (["--looks", "nowhere.jsonl"], 2, "nowhere.jsonl: cannot be read: No such file"),
        (["--looks", "PLAN"], 2, "line 1: Invalid JSON"),
        (["--looks", "x", "--plot", "x.pdf"], 2, "write a name that ends with .svg or .png"),
        (["--file", "PLAN", "--start", "2026-03-01T09:00:00Z", "--prometheus", "p:9090"], 2, "is not an address"),
        (["--file", "PLAN", *TIMES[:2], "--end", TIMES[1], "--prometheus", "http://p"], 2, "give an --end after"),
        (["--file", "PLAN", *TIMES, "--prometheus", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1 does not answer"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    arguments: list[str], code: int, words: str, plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *(str(plan) if each == "PLAN" else each for each in arguments)]) == code
    assert words in capsys.readouterr().err


def test_a_cluster_that_cannot_be_reached_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(kubeconfig("http://127.0.0.1:1")))
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    assert main(["replay", "checkout"]) == 1
    assert "the API server cannot be reached" in capsys.readouterr().err


WRITTEN = {"prometheus": {"url": "http://evil.example"}, "headers": {"X-Scope-OrgID": "shop"}, "params": {"a": "b"}}


@pytest.mark.parametrize(
    ("given", "address", "sent"),
    [
        ({"trust_source": True}, "http://evil.example", True),
        ({"prometheus": "http://localhost:9090"}, "http://localhost:9090", False),
        ({"prometheus": "http://localhost:9090", "trust_source": True}, "http://localhost:9090", True),
    ],
)
def test_nothing_that_others_wrote_is_sent_from_here_unless_it_is_wanted(
    given: dict[str, Any], address: str, sent: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = source_to_ask(Options(plan="checkout", **given), "checkout", read_metric_source(WRITTEN, cluster=False))
    assert spec.address == address
    assert bool(spec.headers) is bool(spec.params) is sent
    assert capsys.readouterr().err == f"rolloutplan: asking {address}\n"


def test_a_source_that_is_not_trusted_is_named() -> None:
    with pytest.raises(
        WrongError, match=r"of checkout is at http://evil\.example: give --trust-source .*or --prometheus"
    ):
        source_to_ask(Options(plan="checkout"), "checkout", read_metric_source(WRITTEN, cluster=False))


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01", "2026-03-01T09:00:00", "09:00Z"])
def test_a_time_has_date_and_zone(text: str, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["replay", "--file", str(plan), "--start", text])
    assert refused.value.code == 2
    assert f'"{text}" is not a time: write it as in RFC 3339' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "invalid YAML"),
        ("kind: Deployment", "has 0 plans"),
        (yaml.safe_dump_all([{"kind": "RolloutPlan"}] * 2), "has 2 plans"),
        ("kind: RolloutPlan", "spec.old: required"),
        (yaml.safe_dump({"kind": "RolloutPlan", "spec": changed(SPEC, {"guards": []})}), "nothing judges this stage"),
    ],
    ids=["no YAML", "no plan", "two plans", "no spec", "nothing to ask"],
)
def test_a_plan_that_cannot_be_used_is_refused(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    assert recorded("http://127.0.0.1:1", file) == 2
    assert words in capsys.readouterr().err


def test_where_nothing_was_measured_it_says_so(url: str, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = ("--start", "2026-03-02T09:00:00Z", "--end", "2026-03-02T09:02:00Z")
    assert main(["replay", "--file", str(plan), *times, "--prometheus", url]) == 1
    told = capsys.readouterr()
    assert "Undecided (NoData)" in told.out
    assert "no measurements between 2026-03-02T09:00:00.000Z" in told.err


def test_more_looks_than_columns_are_drawn_with_none_of_the_peaks_lost() -> None:
    evidence = [50.0 if snapshot == 501 else 1.0 for snapshot in range(1000)]
    points = [plot.Point(START + timedelta(seconds=snapshot), "canary", each) for snapshot, each in enumerate(evidence)]
    lines = plot.terminal(plot.Curve("worse", 20, points)).splitlines()
    assert max(map(len, lines)) <= plot.COLUMNS + 8
    assert sum(line.count("●") for line in lines) == plot.COLUMNS
    above = lines[1 : next(i for i, line in enumerate(lines) if line.startswith("    20"))]
    assert sum(line.count("●") for line in above) == 1
