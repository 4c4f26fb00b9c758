"""The alerts on the operator's metrics, as a real Prometheus reads them: each fires for its own cause alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.bed import Bed, until
from tests.bed import prometheus as monitoring
from tests.shop import ROOT

FILE = ROOT / "deploy/helm/rolloutplan/alerts.yaml"
PORT = 9793
WELL = {
    "rolloutplan_leader": 1.0,
    "rolloutplan_oldest_look_seconds": 61.0,
    "rolloutplan_plans_failing": 0.0,
    'rolloutplan_plans{phase="Judging"}': 3.0,
    "rolloutplan_plans_over_budget": 0.0,
    "rolloutplan_clock_ahead_seconds": -0.2,
}
CAUSES: dict[str, dict[str, float]] = {
    "": {},
    "RolloutPlanNoLeader": {"rolloutplan_leader": 0.0},
    "RolloutPlanRunNotLookedAt": {"rolloutplan_oldest_look_seconds": 121.0},
    "RolloutPlanRollbackStuck": {'rolloutplan_plans{phase="RollingBack"}': 1.0},
    "RolloutPlanOperatorFault": {"rolloutplan_plans_failing": 1.0},
    "RolloutPlanHeldForLong": {'rolloutplan_plans{phase="Held"}': 2.0},
    "RolloutPlanNotRead": {"rolloutplan_plans_over_budget": 1.0},
    "RolloutPlanClockWrong": {"rolloutplan_clock_ahead_seconds": -5.5},
}


@contextmanager
def pages(shown: dict[str, float]) -> Iterator[int]:
    """A port of this machine whose page has these values at each moment; nothing answers while there are none."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(f"{name} {value}\n" for name, value in shown.items()).encode()
            self.send_response(200 if body else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_each_alert_fires_for_its_cause_and_for_no_other(bed: Bed, tmp_path: Path) -> None:
    shown: dict[str, float] = {}
    rules = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == CAUSES.keys() - {""}
    with pages(shown) as port:
        target: Any = {
            "job_name": "operator", "scrape_interval": "250ms", "scrape_timeout": "250ms",
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }  # fmt: skip
        server = monitoring.scraping(bed.programs.prometheus, tmp_path, "alerts", PORT, [target], rules=[FILE])
        server.start()
        url = f"http://127.0.0.1:{PORT}"

        def fires(query: str) -> bool:
            answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=10, proxies={"http": ""})
            return bool(answer.json()["data"]["result"])

        try:
            read = requests.get(f"{url}/api/v1/rules", timeout=10, proxies={"http": ""}).json()["data"]["groups"]
            assert {rule["name"] for group in read for rule in group["rules"]} == CAUSES.keys() - {""}
            assert fires(rules[0]["expr"]), "the operator is not there"
            for number, (alert, cause) in enumerate(CAUSES.items()):
                shown.clear()
                shown.update({**WELL, **cause, "number": float(number)})
                until(lambda: fires(f"number == {number}"), 30, f"page {number}", every=0.1)  # noqa: B023
                assert {rule["alert"] for rule in rules if fires(rule["expr"])} == ({alert} - {""})
        finally:
            server.kill()
