"""A first plan from what the cluster has: which pairs are found, whose metrics are asked, and what is written."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.template import PredicateTemplateSpec, read_template
from rolloutplan.cli import init as cli_init
from rolloutplan.cli.main import main
from rolloutplan.cluster import paths, workloads
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.stats.verdict import Answer
from rolloutplan.tools.first_plan import INLINE, Candidate, Side, candidates, plan_text, whose
from rolloutplan.traffic.described import DescribedKind

PREDICATES = Path(__file__).parents[2] / "deploy" / "predicates"
TEMPLATES: Mapping[str, Raw] = {
    each["metadata"]["name"]: each
    for file in PREDICATES.glob("*.yaml")
    for each in yaml.safe_load_all(file.read_text())
}
KNOWN = {name: read_template(each["spec"]) for name, each in TEMPLATES.items()}


def meta(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": "shop"}


def deployment(version: str) -> Raw:
    labels = {"app": "checkout", "version": version}
    return {"metadata": meta(f"checkout-{version}"), "spec": {"template": {"metadata": {"labels": labels}}}}


def service(name: str, version: str) -> Raw:
    return {"metadata": meta(name), "spec": {"selector": {"app": "checkout", "version": version}}}


def route(weights: Mapping[str, int], name: str = "checkout") -> Raw:
    backends = [{"name": each, "port": 80, "weight": weight} for each, weight in weights.items()]
    return {"metadata": meta(name), "spec": {"rules": [{"backendRefs": backends}]}}


DEPLOYMENTS = [deployment("v1"), deployment("v2"), deployment("v3")]
SERVICES = [*(service(f"checkout-{each}", each) for each in ("v1", "v2", "v3")), service("live", "v1")]
EVERYBODY = {"metadata": meta("everybody"), "spec": {"selector": {"app": "checkout"}}}


def pairs(weights: Mapping[str, int]) -> list[tuple[str, str]]:
    found = candidates(
        [DescribedKind("HTTPRoute", BUILT_IN["HTTPRoute"]).view(route(weights))],
        {each["metadata"]["name"]: workloads.service(each) for each in (*SERVICES, EVERYBODY)},
        {each["metadata"]["name"]: workloads.view(each) for each in DEPLOYMENTS},
    )
    return [(each.old.service, f"{each.new.deployment}{' (serving)' * each.serving}") for each in found]


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ({"checkout-v1": 100, "checkout-v2": 0}, [("checkout-v1", "checkout-v2")]),
        ({"checkout-v2": 0, "live": 1}, [("live", "checkout-v2")]),
        ({"checkout-v1": 60, "checkout-v2": 40}, [("checkout-v1", "checkout-v2 (serving)")]),
        (
            {"checkout-v1": 50, "checkout-v2": 50},
            [("checkout-v1", "checkout-v2 (serving)"), ("checkout-v2", "checkout-v1 (serving)")],
        ),
        (
            {"checkout-v1": 100, "checkout-v2": 0, "checkout-v3": 0},
            [("checkout-v1", "checkout-v2"), ("checkout-v1", "checkout-v3")],
        ),
        (
            {"checkout-v1": 50, "checkout-v2": 50, "checkout-v3": 0},
            [("checkout-v1", "checkout-v3"), ("checkout-v2", "checkout-v3")],
        ),
        ({"checkout-v1": 0, "checkout-v2": 0}, []),
        ({"checkout-v1": 100}, []),
        ({"checkout-v1": 100, "elsewhere": 0}, []),
        ({"checkout-v1": 100, "everybody": 0}, []),
        ({"checkout-v1": 100, "live": 0}, []),
    ],
)
def test_two_deployments_that_share_a_rule_are_a_pair(weights: Mapping[str, int], found: list[tuple[str, str]]) -> None:
    assert pairs(weights) == found


@pytest.mark.parametrize(
    ("kind", "templates", "first"),
    [
        ("TraefikService", TEMPLATES, "-traefik"),
        ("HTTPRoute", TEMPLATES, ""),
        ("TraefikService", ["success-rate", "success-rate-istio"], ""),
        ("HTTPRoute", ["success-rate-istio", "latency"], INLINE),
        ("TraefikService", [], INLINE),
    ],
)
def test_the_router_itself_counts_before_the_service_where_its_templates_are_there(
    kind: str, templates: Sequence[str], first: str
) -> None:
    found = whose(kind, templates)
    assert found[0] == first
    assert INLINE in found
    assert len(found) == len({*found})


@pytest.mark.parametrize("kind", cli_init.WITH_SERVICES)
@pytest.mark.parametrize("known", [KNOWN, {}], ids=["with templates", "without"])
def test_what_is_written_passes_lint(
    kind: str, known: Mapping[str, PredicateTemplateSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = Candidate(kind, "checkout", Side("checkout-v1", "live"), Side("checkout-v2", "checkout-v2"))
    text = plan_text(pair, "shop", whose(kind, known)[0], known)
    named = [each["template"] for each in yaml.safe_load(text)["spec"]["guards"] if "template" in each]
    (tmp_path / "plan.yaml").write_text("---\n".join([text, *(yaml.safe_dump(TEMPLATES[each]) for each in named)]))
    assert main(["lint", str(tmp_path)]) == 0, capsys.readouterr().out


# ---- the command -----------------------------------------------------------------------------------------------------


class Cluster:
    """What a cluster has, by resource; a kind that it does not have is not installed."""

    namespace = "shop"

    def __init__(self, **has: Sequence[Raw]) -> None:
        self.has = has

    async def objects(self, kind: paths.Kind, _: str = "") -> Sequence[Raw]:
        group_of_routes = kind.group not in ("", "apps", paths.PLAN_GROUP, "gateway.networking.k8s.io")
        if kind.plural not in self.has or group_of_routes:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return self.has[kind.plural]


SHOP = {"deployments": DEPLOYMENTS, "services": SERVICES, "clusterpredicatetemplates": [*TEMPLATES.values()]}
ONE = {**SHOP, "httproutes": [route({"checkout-v1": 100, "checkout-v2": 0})]}
TWO = {**SHOP, "httproutes": [*ONE["httproutes"], route({"checkout-v2": 9, "checkout-v3": 0}, "next")]}


def asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has: Mapping[str, Sequence[Raw]], *options: str
) -> tuple[int, str, str]:
    @asynccontextmanager
    async def session(_: str | None) -> AsyncIterator[Cluster]:
        yield Cluster(**has)

    monkeypatch.setattr(cli_init, "session", session)
    code = main(["init", *options])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_only_pair_gets_a_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = asked(monkeypatch, capsys, ONE)
    spec = yaml.safe_load(out)["spec"]
    assert (code, spec["old"], spec["new"]) == (0, {"deployment": "checkout-v1"}, {"deployment": "checkout-v2"})
    assert [each["template"] for each in spec["guards"]] == ["success-rate", "more-errors", "latency"]
    assert "no metrics were looked at" in err
    assert "there is no metric source default yet" in err
    file = tmp_path / "plan.yaml"
    assert asked(monkeypatch, capsys, ONE, "-f", str(file)) == (0, "", err)
    assert file.read_text() == out
    assert asked(monkeypatch, capsys, ONE, "-f", str(file))[0] == 1


def test_of_several_pairs_each_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = asked(monkeypatch, capsys, TWO)
    head, *commands = (line.removeprefix("rolloutplan: ") for line in err.splitlines())
    assert (code, out) == (1, "")
    assert head == "more than one pair of Deployments shares a route in shop; write which:"
    assert commands == [
        "rolloutplan init -n shop --old checkout-v1 --new checkout-v2 --route HTTPRoute/checkout",
        "rolloutplan init -n shop --old checkout-v2 --new checkout-v3 --route HTTPRoute/next",
    ]
    for command in commands:
        assert asked(monkeypatch, capsys, TWO, *command.split()[2:])[0] == 0


@pytest.mark.parametrize(
    ("has", "options", "words"),
    [
        (SHOP, [], "no route in namespace shop has two Services whose Deployments exist"),
        (ONE, ["--old", "checkout-v7"], "these do: rolloutplan init -n shop --old checkout-v1"),
    ],
)
def test_without_a_pair_it_says_what_is_there(
    has: Mapping[str, Sequence[Raw]],
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = asked(monkeypatch, capsys, has, *options)
    assert (code, out) == (1, "")
    assert words in err


@pytest.mark.parametrize(
    ("series", "templates"),
    [
        ("istio_requests_total", "success-rate-istio"),
        ("http_requests_total", "success-rate"),
        ("nothing", "success-rate"),
    ],
)
def test_the_templates_are_those_that_have_series_of_the_old_side(
    series: str, templates: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Source:
        """A metric source that has one metric."""

        def of(self, _: str) -> "Source":
            return self

        async def evaluate(self, query: object, _: object) -> Answer:
            return Answer(3.0) if series in str(query) and "checkout-v1" in str(query) else Answer()

        def close(self) -> None:
            pass

    monkeypatch.setattr(cli_init, "connect", lambda _: Source())
    code, out, err = asked(monkeypatch, capsys, ONE, "--prometheus", "http://prometheus:9090")
    assert code == 0
    assert yaml.safe_load(out)["spec"]["guards"][0] == {"template": templates}
    assert ("has no series of checkout-v1" in err) == (series == "nothing")


def test_a_route_that_is_none_is_a_wrong_call() -> None:
    for wrong in ("checkout", "HTTPRout/checkout"):
        with pytest.raises(SystemExit) as ended:
            main(["init", "--route", wrong])
        assert ended.value.code == 2
