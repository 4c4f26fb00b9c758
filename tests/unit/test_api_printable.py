"""No credential is repeated: in what is refused, in messages, in logs."""

import io
import json
import logging
from pathlib import Path

import pytest
import structlog
import yaml

from rolloutplan.api.metric_source import SpecError, read_metric_source
from rolloutplan.api.printable import masked, printable
from rolloutplan.cli.main import main
from rolloutplan.generate.crd import crds
from rolloutplan.telemetry.logs import set_up
from rolloutplan.tools.lint.source import lint_source

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:hunter2@h:9090/x", "http://***@h:9090/x"),
        ("https://hunter2@h", "https://***@h"),
        ("http://u:a@hunter2@h", "http://***@h"),
        ('two: "http://u:hunter2@a", "http://v:hunter2@b/c"', 'two: "http://***@a", "http://***@b/c"'),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic aHVudGVyMg=='}", "{'Authorization': 'Basic ***'}"),
        ("http://prometheus:9090/a@b", "http://prometheus:9090/a@b"),
        ("use bearer or basic authentication", "use bearer or basic authentication"),
        ('up{instance="a@b"}', 'up{instance="a@b"}'),
    ],
)
def test_what_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
    assert printable(f"{text}\x1b") == f"{shown} "


SOURCES = [
    {"prometheus": {"url": "http://u:hunter2@h"}},
    {"prometheus": {"url": "http://u:hunter2/@h"}},
    {"prometheus": {"url": "http://h?token=hunter2"}},
    {"prometheus": {"url": f"http://u:hunter2@{'h' * 3000}"}},
    {"prometheus": "http://u:hunter2@h"},
    {"prometheus": {"url": "http://h"}, "headers": {"X-A": "hunter2 "}},
    {"prometheus": {"url": "http://h"}, "headers": {"X-A": ["hunter2"]}},
    {"prometheus": {"url": "http://h"}, "headers": "Authorization: hunter2"},
    {"prometheus": {"url": "http://h"}, "headers": ["hunter2"]},
    {"prometheus": {"url": "http://h"}, "headers": {"Authorization": "Bearer hunter2"}},
    {"prometheus": {"url": "http://h"}, "params": {"token": {"a": "hunter2"}}},
    {"prometheus": {"url": "http://h"}, "params": ["hunter2"]},
]


@pytest.mark.parametrize("spec", SOURCES, ids=map(str, range(len(SOURCES))))
def test_what_is_refused_is_not_repeated(spec: dict[str, object]) -> None:
    with pytest.raises(SpecError) as refused:
        read_metric_source(spec, cluster=False)
    assert SECRET not in str(refused.value)
    assert str(refused.value).startswith("spec.")


def test_the_messages_of_the_crds_repeat_neither_addresses_with_a_user_nor_values_of_headers() -> None:
    for name, definition in crds().items():
        if "metricsource" not in name:
            continue
        spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        url, header = spec["prometheus"]["properties"]["url"], spec["headers"]["additionalProperties"]
        (rule,) = header["x-kubernetes-validations"]
        assert "self" not in rule["messageExpression"]
        (rule,) = url["x-kubernetes-validations"]
        assert rule["messageExpression"].startswith("(self.matches('[@?#]') ? '***' : ")


CREDENTIAL = "looks like a credential: whoever may read this can use it; remove it, put it into a file of the chart's"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"headers": {"X-Api-Key": "hunter2"}}, "spec.headers.X-Api-Key"),
        ({"headers": {"X-Access-Token": "hunter2"}}, "spec.headers.X-Access-Token"),
        ({"headers": {"X-Vault-Token": "hunter2"}}, "spec.headers.X-Vault-Token"),
        ({"headers": {"X-Session-Cookie": "hunter2"}}, "spec.headers.X-Session-Cookie"),
        ({"headers": {"X-Grafana": "Bearer hunter2"}}, "spec.headers.X-Grafana"),
        ({"headers": {"X-Grafana": "eyJhbGciOiJIUzI1NiJ9.hunter2"}}, "spec.headers.X-Grafana"),
        ({"params": {"token": "hunter2"}}, "spec.params.token"),
        ({"params": {"access_token": "hunter2"}}, "spec.params.access_token"),
        ({"params": {"apikey": "hunter2"}}, "spec.params.apikey"),
        ({"params": {"password": "hunter2"}}, "spec.params.password"),
    ],
)
@pytest.mark.parametrize("output", ["text", "json", "github"])
def test_lint_finds_credentials_and_shows_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: dict[str, object], path: str, output: str
) -> None:
    raw = {
        "apiVersion": "rolloutplan.dev/v1alpha1",
        "kind": "ClusterMetricSource",
        "metadata": {"name": "default"},
        "spec": {"prometheus": {"url": "http://prometheus:9090"}, **spec},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    assert main(["lint", "-o", output, str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert SECRET not in said
    assert CREDENTIAL in said
    if output == "json":
        ((found),) = json.loads(said)
        assert (found["path"], found["severity"], found["rule"]) == (path, "error", "credential")


@pytest.mark.parametrize("name", ["X-Scope-OrgID", "X-Tenant", "X-Keyspace", "X-Monkey", "X-Passage"])
def test_other_headers_are_no_credentials(tmp_path: Path, name: str) -> None:
    raw = {
        "apiVersion": "rolloutplan.dev/v1alpha1",
        "kind": "ClusterMetricSource",
        "metadata": {"name": "default"},
        "spec": {"prometheus": {"url": "http://prometheus:9090"}, "headers": {name: "shop"}},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    assert main(["lint", "--strict", str(tmp_path)]) == 0


@pytest.mark.parametrize("command", ["lint", "simulate"])
@pytest.mark.parametrize("spec", SOURCES, ids=map(str, range(len(SOURCES))))
def test_no_command_shows_a_refused_credential(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, spec: dict[str, object]
) -> None:
    raw = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "MetricSource", "metadata": {"name": "a"}, "spec": spec}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    assert main([command, str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err


def test_replay_shows_no_credential_of_an_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: RolloutPlan\n")
    arguments = ["--file", str(tmp_path / "a.yaml"), "--start", "2026-03-01T09:00:00Z"]
    assert main(["replay", *arguments, "--prometheus", "http://u:hunter2@h"]) == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert "is not an address" in said.err


def test_logs_show_no_credential() -> None:
    before, configured = logging.getLogger().handlers[:], structlog.get_config()
    out = io.StringIO()
    try:
        set_up(stream=out)
        structlog.get_logger().warning("asked http://u:hunter2@h", url="https://u:hunter2@h")
        logging.getLogger("other").error("refused: Authorization: Bearer hunter2")
        try:
            yaml.safe_load('"http://u:hunter2@h')
        except yaml.YAMLError:
            logging.getLogger("other").exception("failed")
    finally:
        logging.getLogger().handlers = before
        structlog.configure(**configured)
    assert SECRET not in out.getvalue()
    assert out.getvalue().count("***") >= 4


JWT = f"eyJ{'hbGciOiJ' * 4}.eyJ{'zdWIiOiJ' * 4}.{'Ab3_-' * 8}"
PEM = "-----BEGIN CERTIFICATE-----\nMIIBkTCB\n-----END CERTIFICATE-----\n"
IN_PLACE_OF_A_FILE = "this looks like what belongs into the file: take it out of Git, and revoke it"


@pytest.mark.parametrize("secret", [JWT, JWT * 4, PEM, "LS0tLS1CRUdJTiBDRVJU" * 30, "0a1b" * 10, "Zk3x9-_Q" * 6])
@pytest.mark.parametrize("field", ["bearer", "caBundle", "basic.password", "mtls.key"])
def test_a_credential_in_place_of_the_name_of_its_file_is_an_error_and_not_repeated(secret: str, field: str) -> None:
    pairs = {"basic": {"username": "u"}, "mtls": {"cert": "tls.crt"}}
    group, _, part = field.partition(".")
    auth = {group: {**pairs[group], part: secret} if part else secret}
    raw = {"prometheus": {"url": "https://prometheus:9090"}, "auth": auth}
    try:
        ((path, words),) = [(each.path, each.words) for each in lint_source(read_metric_source(raw, cluster=True))]
    except SpecError as refused:
        path, words = "", str(refused)
    assert path in ("", f"spec.auth.{field}")
    assert IN_PLACE_OF_A_FILE in words
    assert secret[:12] not in words


@pytest.mark.parametrize("name", ["prom-token", "ca.crt", "Prometheus_Token_2026", f"{'observability-' * 8}eu-1.pem"])
def test_a_name_of_a_credential_file_is_no_credential(name: str) -> None:
    raw = {"prometheus": {"url": "https://prometheus:9090"}, "auth": {"bearer": name, "caBundle": name}}
    assert not list(lint_source(read_metric_source(raw, cluster=True)))
