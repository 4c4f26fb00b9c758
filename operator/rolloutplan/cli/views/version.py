"""`rolloutplan version`: the versions of this program, of the operator in the cluster and of the CRDs, and if they fit.

What is read are the Deployments of the chart, their Leases, the CRDs, and the fields that the API server serves. What
cannot be read is told with its reason, and the rest is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, Literal, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from rolloutplan import __version__
from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.cli.options import namespace_option
from rolloutplan.cli.output import CliError
from rolloutplan.cli.screen import screen, show_objects
from rolloutplan.cli.session import explain, session
from rolloutplan.cli.versions import difference, own_kinds, served_kinds
from rolloutplan.cli.views.columns import Row, columns
from rolloutplan.cluster.client import Api, ApiError, Raw, if_there
from rolloutplan.cluster.paths import CRDS, DEPLOYMENTS, LEASES, PLAN_GROUP, PLAN_VERSION, PODS, path

FITS, DIFFERS = 0, 1
_LABEL: Final = "app.kubernetes.io/component=operator"
_COMMAND: Final = ["rolloutplan", "operator"]
_SAME: Final = "install the version that the operator has"

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator by its Deployment; "" is what is not known."""

    namespace: str
    name: str
    version: str
    image: str
    """That of the pod that leads, else that of the Deployment."""
    next_image: str = ""
    """That of the Deployment, where the pod that leads has another one."""
    lease: str = ""
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Crd:
    """A kind of object. `served` and `stored` are versions, none where they are not known."""

    name: str
    served: tuple[str, ...]
    stored: tuple[str, ...]
    finding: str = ""
    """What does not fit this program, and the fix."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What is known; `unknown` has for each part that cannot be read the reason."""

    operators: Sequence[Operator] = ()
    crds: Sequence[Crd] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


def version(
    output: Annotated[
        Literal["text", "json", "yaml"], typer.Option("-o", "--output", help="text (the default), or for programs")
    ] = "text",
    namespace: Annotated[str | None, namespace_option("where the operator is (default: any)")] = None,
) -> int:
    """Without a cluster, or without the rights to ask it, it shows what is known and says why the rest is not.

    Exit 0, 1 where the operator or the CRDs do not fit this program.
    """
    found = asyncio.run(_ask(namespace))
    if output == "text":
        console = screen()
        width = console.width if console.is_watched else None
        console.print(rendered(found, width), soft_wrap=width is None)
    else:
        show_objects([as_object(found)], output, several=False)
    return DIFFERS if [*findings(found)] else FITS


# ---- what is known ---------------------------------------------------------------------------------------------------


def findings(found: Versions) -> Iterator[str]:
    """What does not fit this program, each with what to do."""
    for each in found.operators:
        if each.version not in {"", __version__}:
            yield f"the operator {each.namespace}/{each.name} is {each.version}, this program {__version__}: {_SAME}"
    for crd in found.crds:
        if crd.finding:
            yield f"{crd.name}: {crd.finding}"


def crds_of(served: Mapping[str, Any], definitions: Mapping[str, Raw]) -> Iterator[Crd]:
    """Compare the kinds of this program with the schemas that are served, and with the CRDs that were read."""
    own = own_kinds()
    for name, (kind, schema) in own.items():
        raw = definitions.get(name, {})
        each_version = safe_get.items(raw, "spec", "versions")
        versions = tuple(safe_get.text(each, "name") for each in each_version if safe_get.value(each, "served") is True)
        if kind in served:
            finding = difference(served[kind], schema)
        elif PLAN_VERSION in versions:
            finding = ""
        elif versions:
            finding = f"it is served as {', '.join(versions)}, which this program does not know: {_SAME}"
        else:
            finding = "it is missing: update the CRDs with the operator"
        stored = tuple(str(each) for each in safe_get.items(raw, "status", "storedVersions"))
        yield Crd(name, versions or ((PLAN_VERSION,) if kind in served else ()), stored, finding)
    for kind in sorted(served.keys() - {kind for kind, _ in own.values()}):
        yield Crd(f"{kind}.{PLAN_GROUP}", (PLAN_VERSION,), (), f"this program is older and does not know it: {_SAME}")


def lease_of(deployment: Raw) -> tuple[str, str] | None:
    """Namespace and name of the Lease for which the operator of a Deployment stands; None where it runs none."""
    for container in _containers(deployment):
        if safe_get.items(container, "command") == _COMMAND:
            words = (str(each).partition("=") for each in safe_get.items(container, "args"))
            options = {option: value for option, _, value in words}
            namespace = safe_get.text(deployment, "metadata", "namespace")
            return options.get("--lease-namespace", namespace), options.get("--lease-name", "rolloutplan")
    return None


def operator_of(deployment: Raw, lease: Raw, leader: Raw) -> Operator:
    """What a Deployment, its Lease and the pod that holds it say; the last two may be empty."""
    labels = safe_get.mapping(deployment, "metadata", "labels")
    wanted, runs = _image(_containers(deployment)), _image(safe_get.items(leader, "spec", "containers"))
    meta = safe_get.mapping(lease, "metadata")
    return Operator(
        safe_get.text(deployment, "metadata", "namespace"),
        safe_get.text(deployment, "metadata", "name"),
        safe_get.text(labels, "app.kubernetes.io/version"),
        image=runs or wanted,
        next_image=wanted if runs and runs != wanted else "",
        lease=f"{safe_get.text(meta, 'namespace')}/{safe_get.text(meta, 'name')}" if meta else "",
        holder=safe_get.text(lease, "spec", "holderIdentity"),
    )


def _containers(deployment: Raw) -> Sequence[Any]:
    return safe_get.items(deployment, "spec", "template", "spec", "containers")


def _image(containers: Iterable[Any]) -> str:
    return next(
        (safe_get.text(each, "image") for each in containers if safe_get.items(each, "command") == _COMMAND), ""
    )


# ---- reading ---------------------------------------------------------------------------------------------------------


async def _ask(namespace: str | None) -> Versions:
    try:
        async with session(namespace, everywhere=namespace is None) as cluster:
            api = cluster.api
            operators, served, stored = await asyncio.gather(
                _told(_operators(api, cluster.namespace)), _told(served_kinds(api)), _told(_definitions(api))
            )
    except CliError as error:
        return Versions(unknown={"operator": str(error), "CRDs": str(error)})
    definitions = {} if isinstance(stored, str) else stored
    if isinstance(served, str) and any(definitions.values()):
        served = {}  # there are CRDs, and none is served in the version of this program
    unknown = {"operator": operators, "CRDs": served, "stored versions": stored}
    return Versions(
        () if isinstance(operators, str) else operators,
        () if isinstance(served, str) else [*crds_of(served, definitions)],
        {part: why for part, why in unknown.items() if isinstance(why, str)},
    )


async def _told(request: Awaitable[_Read]) -> _Read | str:
    """The answer, or why there is none."""
    try:
        return await request
    except ApiError as error:
        return explain(error)


async def _operators(api: Api, namespace: str) -> list[Operator]:
    found = safe_get.items(await api.list(path(DEPLOYMENTS, namespace), labelSelector=_LABEL), "items")
    return [await _operator(api, raw, *lease) for raw in found if (lease := lease_of(raw))]


async def _operator(api: Api, deployment: Raw, namespace: str, name: str) -> Operator:
    """Read what one operator holds; what cannot be read is left out, since the Deployment alone says enough."""
    lease = await _if_readable(api, path(LEASES, namespace, name))
    holder = safe_get.text(lease, "spec", "holderIdentity")
    where = safe_get.text(deployment, "metadata", "namespace")
    return operator_of(deployment, lease, await _if_readable(api, path(PODS, where, holder)) if holder else {})


async def _if_readable(api: Api, where: str) -> Raw:
    try:
        return await api.get(where)
    except ApiError as error:
        if error.status == 0:
            raise
        return {}


async def _definitions(api: Api) -> dict[str, Raw]:
    """Read the CRDs of this program that exist, one by one: a list would have all others of the cluster."""
    names = [*own_kinds()]
    read = await asyncio.gather(*(if_there(api.get(path(CRDS, name=name))) for name in names))
    return {name: raw or {} for name, raw in zip(names, read, strict=True)}


# ---- showing ---------------------------------------------------------------------------------------------------------


def as_object(found: Versions) -> dict[str, Any]:
    """All of it for programs."""
    return {
        "client": {"version": __version__, "apiVersion": f"{PLAN_GROUP}/{PLAN_VERSION}"},
        "operators": [asdict(each) for each in found.operators],
        "crds": [asdict(each) | {"served": [*each.served], "stored": [*each.stored]} for each in found.crds],
        "unknown": dict(found.unknown),
        "findings": [*findings(found)],
    }


def rendered(found: Versions, width: int | None) -> RenderableType:
    """The view: the client, the operators, the CRDs, then what does not fit and what is not known."""
    parts = [Text(f"client {__version__} ({PLAN_GROUP}/{PLAN_VERSION})")]
    parts += [_operator_lines(each) for each in found.operators]
    if not found.operators and "operator" not in found.unknown:
        parts.append(Text("no operator: no Deployment of the chart is there"))
    if found.crds:
        parts += [Text(), columns(("CRD", "SERVED", "STORED"), [_crd_row(each) for each in found.crds], width), Text()]
    parts += [Text(line(each), "yellow") for each in findings(found)]
    for why in dict.fromkeys(found.unknown.values()):
        named = " and ".join(part for part, said in found.unknown.items() if said == why)
        parts.append(Text(f"{named} not known: {line(why)}"))
    return Group(*parts)


def _operator_lines(each: Operator) -> Text:
    """Nothing of it is cut: what tells two images apart is at their ends."""
    lines = [f"operator {each.version or 'of an unknown version'} ({each.namespace}/{each.name})"]
    lines.append(f"leader: {each.holder or 'not known'}" + f" (Lease {each.lease})" * bool(each.lease))
    lines.append(f"image: {each.image or 'not known'}")
    lines += [f"next image: {each.next_image}"] if each.next_image else []
    return Text("\n  ".join(line(text) for text in lines))


def _crd_row(each: Crd) -> Row:
    cells = {"CRD": each.name, "SERVED": ", ".join(each.served) or "no", "STORED": ", ".join(each.stored)}
    return {title: Text(line(text)) for title, text in cells.items()}
