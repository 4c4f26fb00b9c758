"""Write a first plan from two Deployments and a route that exist in the cluster. Nothing is written there.

What fits together, and the text, come from tools/first_plan.py.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from rolloutplan.api import safe_get
from rolloutplan.api.metric_source import MetricSourceSpec, read_metric_source
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.resolve import CLUSTER_TEMPLATE, Template, resolve
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.template import PredicateTemplateSpec, read_template
from rolloutplan.api.text_format import DNS_NAME
from rolloutplan.cli.options import Namespace, reads
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.replay import Options, WrongError, source_to_ask
from rolloutplan.cli.session import Session, session
from rolloutplan.cluster import paths, workloads
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.engine.model.queries import ValueQuery
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.metrics.base import Provider
from rolloutplan.metrics.objects import read_source
from rolloutplan.metrics.pool import connect
from rolloutplan.stats.verdict import Why
from rolloutplan.tools.first_plan import INLINE, Candidate, candidates, plan_text, whose
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.owned import is_ours

FAILED: Final = 1
WITH_SERVICES: Final = [kind for kind in BUILT_IN if kind != "FeatureFlag"]
"""The kinds whose sides are Services; those of a flag are variants, which have to be named."""
_WINDOW: Final = timedelta(minutes=5)


def _deployment(words: str) -> Any:
    return typer.Option(metavar="DEPLOYMENT", parser=reads(DNS_NAME.read), help=words)


def init(
    old: Annotated[str | None, _deployment("the Deployment that has the traffic now")] = None,
    new: Annotated[str | None, _deployment("the Deployment that is to get it")] = None,
    route: Annotated[
        str | None, typer.Option(metavar="KIND/NAME", help="the route, such as HTTPRoute/checkout")
    ] = None,
    namespace: Namespace = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="the Prometheus in which to look which templates have metrics")
    ] = None,
    trust_source: Annotated[
        bool, typer.Option("--trust-source", help="look where the MetricSource `default` says, with its headers")
    ] = False,
    file: Annotated[Path | None, typer.Option("-f", "--file", metavar="FILE", help="write it to a new file")] = None,
) -> int:
    """Without options it looks for a route with two Services whose Deployments exist; the one with traffic is old.

    Without --prometheus and --trust-source the templates follow from the kind of the route. Exit 0, 1 if nothing fits
    or more than one pair does.
    """
    kind, _, name = (route or "").partition("/")
    if route and (kind not in WITH_SERVICES or not name):
        words = "write KIND/NAME, such as HTTPRoute/checkout; docs/routers.md has the kinds"
        raise typer.BadParameter(f"--route {route}: {words}")
    if file is not None and file.exists():
        raise CliError(f"{file} exists: name a new file, or remove it", FAILED)
    found, text = asyncio.run(_init(_Wanted(old, new, kind, name), namespace, prometheus, trust_source=trust_source))
    if text is None:
        return FAILED
    for words in found.notes:
        fail(words, 0)
    if file is None:
        print(text, end="")
    else:
        file.write_text(text)
    return 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line names; empty where it is to be found."""

    old: str | None
    new: str | None
    kind: str
    route: str

    def fits(self, each: Candidate) -> bool:
        return self.old in (None, each.old.deployment) and self.new in (None, each.new.deployment)


@dataclass(slots=True)
class _Found:
    """What the cluster has: the routes with two sides, and the templates with their descriptions."""

    pairs: list[Candidate]
    templates: dict[str, Template] = field(default_factory=dict)
    source: MetricSourceSpec | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def readable(self) -> Mapping[str, PredicateTemplateSpec]:
        return {name: each.spec for name, each in self.templates.items() if each.spec is not None}


async def _init(
    wanted: _Wanted, namespace: str | None, prometheus: str | None, *, trust_source: bool
) -> tuple[_Found, str | None]:
    async with session(namespace) as cluster:
        found, where = await _look(cluster, wanted), cluster.namespace
    pairs = [each for each in found.pairs if wanted.fits(each)]
    if not pairs:
        raise CliError(_none(found.pairs, where), FAILED)
    if len(pairs) > 1:
        fail(f"more than one pair of Deployments shares a route in {where}; write which:", FAILED)
        for each in pairs:
            fail(_command(each, where), FAILED)
        return found, None
    (pair,) = pairs
    endings = whose(pair.kind, found.readable)
    ending = endings[0]
    if prometheus or trust_source:
        ending = await _measured(found, pair, where, endings, _source(found, prometheus, trust_source=trust_source))
    else:
        by = "of the plan itself" if ending == INLINE else f"for the kind {pair.kind}"
        found.notes.append(f"no metrics were looked at, so the queries are those {by}: --prometheus URL looks")
    if found.source is None:
        found.notes.append("there is no metric source default yet: docs/prometheus.md#the-source has one")
    return found, plan_text(pair, where, ending, found.readable)


def _none(pairs: Sequence[Candidate], namespace: str) -> str:
    if pairs:
        said = "; ".join(_command(each, namespace) for each in pairs)
        return f"no such pair of Deployments shares a route in namespace {namespace}; these do: {said}"
    words = f"no route in namespace {namespace} has two Services whose Deployments exist"
    return f"{words}: docs/from-one-deployment.md leads there (-n names another namespace)"


def _command(each: Candidate, namespace: str) -> str:
    sides = f"--old {each.old.deployment} --new {each.new.deployment}"
    return f"rolloutplan init -n {namespace} {sides} --route {shlex.quote(f'{each.kind}/{each.route}')}"


# ---- looking at the cluster ------------------------------------------------------------------------------------------


async def _look(cluster: Session, wanted: _Wanted) -> _Found:
    deployments, services = await asyncio.gather(cluster.objects(paths.DEPLOYMENTS), cluster.objects(paths.SERVICES))
    kinds = [DescribedKind(kind, BUILT_IN[kind]) for kind in ([wanted.kind] if wanted.kind else WITH_SERVICES)]
    routes = [each for views in await asyncio.gather(*(_routes(cluster, kind) for kind in kinds)) for each in views]
    pairs = candidates(
        [each for each in routes if wanted.route in ("", each.id.name)],
        {_name(raw): workloads.service(raw) for raw in services},
        {_name(raw): workloads.view(raw) for raw in deployments},
    )
    found = _Found(pairs)
    for kind, title in ((paths.CLUSTER_TEMPLATES, CLUSTER_TEMPLATE), (paths.TEMPLATES, "PredicateTemplate")):
        found.templates |= {_name(raw): _template(title, raw) for raw in await _all(cluster, kind)}
    for kind in (paths.CLUSTER_SOURCES, paths.SOURCES):  # that of the namespace wins
        for raw in await _all(cluster, kind):
            if _name(raw) == "default":
                found.source = read_source(kind.resource, raw).spec
    return found


async def _routes(cluster: Session, kind: DescribedKind) -> list[RouteView]:
    """The routes of a kind; none where it is not installed, or may not be read."""
    group, version, plural, older = kind.resource
    for each in (version, *older):
        if raws := await _all(cluster, paths.Kind(group, each, plural)):
            views = ((raw, kind.view(raw, [other for other in raws if other is not raw])) for raw in raws)
            return [view for raw, view in views if not is_ours(raw)]  # a plan names the one in Git
    return []


async def _all(cluster: Session, kind: paths.Kind) -> list[Raw]:
    try:
        return await cluster.objects(kind)
    except ApiError as error:
        if error.status in (403, 404):
            return []
        raise


def _name(raw: Raw) -> str:
    return safe_get.text(raw, "metadata", "name")


def _template(kind: str, raw: Raw) -> Template:
    try:
        return Template(kind, _name(raw), read_template(safe_get.mapping(raw, "spec")))
    except SpecError as error:
        return Template(kind, _name(raw), None, str(error))


# ---- looking at the metrics ------------------------------------------------------------------------------------------


def _source(found: _Found, prometheus: str | None, *, trust_source: bool) -> MetricSourceSpec:
    source = found.source
    try:
        if source is None and prometheus:
            source = read_metric_source({"prometheus": {"url": prometheus}}, cluster=False)
        if source is not None:
            return source_to_ask(Options(prometheus=prometheus, trust_source=trust_source), "init", source)
    except (WrongError, SpecError) as error:
        raise CliError(str(error)) from None
    raise CliError("there is no metric source default: create one (docs/prometheus.md) or name a --prometheus URL")


async def _measured(
    found: _Found, pair: Candidate, namespace: str, endings: Sequence[str], spec: MetricSourceSpec
) -> str:
    """The first ending whose first query has series of the old side; else the likeliest, with a note."""
    connection = connect(spec)
    try:
        provider = connection.of(namespace)
        for ending in endings:
            if await _has_series(provider, plan_text(pair, namespace, ending, found.readable), found, namespace):
                return ending
    finally:
        connection.close()
    words = f"{spec.address} has no series of {pair.old.deployment} for any template: see docs/prometheus.md"
    found.notes.append(f"{words}; the queries are a guess")
    return endings[0]


async def _has_series(provider: Provider, text: str, found: _Found, namespace: str) -> bool:
    raw: Mapping[str, Any] = yaml.safe_load(text)
    whole = resolve(read_plan_spec(raw["spec"]), found.templates.__getitem__)
    first = whole.spec.guards[0]
    asked = first.query or (first.events.total if first.events else None)
    if whole.problems or not asked:
        return False
    name = safe_get.text(raw, "metadata", "name")
    variables = variables_for(whole.spec, namespace=namespace, plan=name, stage="init", side="old", window=_WINDOW)
    answer = await provider.evaluate(ValueQuery(f"count({render(asked, variables)})"), datetime.now(UTC))
    if answer.gap is Why.SOURCE_DOWN:
        raise CliError(f"the metric source does not answer: {answer.detail}")
    return answer.value is not None
