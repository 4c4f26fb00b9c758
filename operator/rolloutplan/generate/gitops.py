"""What Argo CD and Flux need to know of our kinds, for `deploy/gitops`.

The scripts in Lua are files there, so that they are read and run as what they are; `argocd_cm` puts them into one
ConfigMap. The weights to ignore follow from the descriptions of the kinds of route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from rolloutplan.api.command import Verb
from rolloutplan.api.object_path import Each, parse
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.generate.crd import GROUP, KINDS, VERSION

_PLAN: Final = "RolloutPlan"
CONFIGURING: Final = tuple(
    each.name for each in KINDS if each.status is not None and each.name != _PLAN and not each.written_whole
)
"""The kinds that people write and whose condition Ready says whether they apply."""
ACTIONS: Final = tuple(verb for verb in Verb if verb is not Verb.ADOPT)
"""The commands that Argo CD offers. `adopt` is left out: it takes weights over that nobody has judged."""
_MADE: Final = "# `make generate` writes this file"
_CM: Final = f"""\
{_MADE} from the scripts in this folder: health and actions of our kinds.
# Merge it into the argocd-cm that you have:
#   kubectl patch configmap argocd-cm -n argocd --type merge --patch-file argocd-cm.yaml
"""
_IGNORED: Final = f"""\
{_MADE} from the descriptions of the kinds of route. Copy the entry of your kind into the
# Application that has the route: without it, a sync gives the old side its traffic back in the middle of a run.
"""
_CHECKS: Final = f"""\
{_MADE}. With this patch of a Kustomization that waits, it is ready as soon as the
# operator has taken its plans, and fails at once where one is Stalled. Without it, it waits for the end of each run.
"""
_OBJECT_KINDS: Final = {
    **dict.fromkeys(("AlbIngress", "NginxCanary", "SkipperIngress"), "Ingress"),
    "GlooVirtualService": "VirtualService",
    "KnativeService": "Service",
    "LinkerdHTTPRoute": "HTTPRoute",
    "OpenShiftRoute": "Route",
}
"""The kinds whose objects are called otherwise than plans call them."""
_STALLED: Final = "has(status.conditions) && status.conditions.exists(c, c.type == 'Stalled' && c.status == 'True')"
_READY: Final = "has(status.conditions) && status.conditions.exists(c, c.type == 'Ready' && c.status == '{}')"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def files(scripts: Path) -> Mapping[str, str]:
    """The texts of the generated files by their paths in `deploy/gitops`, where `scripts` is `argocd` in it.

    Raises OSError where a script cannot be read.
    """
    return {
        "argocd/argocd-cm.yaml": argocd_cm(scripts),
        "argocd/ignore-differences.yaml": ignore_differences(BUILT_IN),
        "flux/health-checks.yaml": health_checks(),
    }


# ---- Argo CD ---------------------------------------------------------------------------------------------------------


def argocd_cm(scripts: Path) -> str:
    """The patch of argocd-cm. Raises OSError where a script cannot be read."""
    health = {_PLAN: "health.lua", **dict.fromkeys(CONFIGURING, "ready.lua")}
    data = {f"resource.customizations.health.{GROUP}_{kind}": _read(scripts, name) for kind, name in health.items()}
    actions = {"discovery.lua": _read(scripts, "discovery.lua"), "definitions": [_action(scripts, v) for v in ACTIONS]}
    data[f"resource.customizations.actions.{GROUP}_{_PLAN}"] = _yaml(actions)
    return _CM + _yaml({"data": data})


def _action(scripts: Path, verb: Verb) -> Mapping[str, str]:
    return {"name": str(verb), "action.lua": f'local verb = "{verb}"\n{_read(scripts, "action.lua")}'}


def _read(scripts: Path, name: str) -> str:
    return (scripts / name).read_text(encoding="utf-8")


def ignore_differences(kinds: Mapping[str, RouteKindSpec]) -> str:
    """The weights of each kind as `ignoreDifferences`, with what users should know of the kind."""
    return f"{_IGNORED}spec:\n  ignoreDifferences:\n" + "".join(_ignored(*each) for each in sorted(kinds.items()))


def _ignored(kind: str, spec: RouteKindSpec) -> str:
    found = {
        "group": spec.group,
        "kind": _OBJECT_KINDS.get(kind, kind),
        "jqPathExpressions": list(weight_expressions(spec)),
    }
    lines = [*(f"# {line}" for line in (kind, *spec.traps)), *_yaml([found]).splitlines()]
    return "".join(f"    {line}\n" for line in lines)


def weight_expressions(spec: RouteKindSpec) -> Iterator[str]:
    """The weights of a kind as expressions of jq.

    Each step to several places passes over what is not there: Argo CD ignores an expression that fails as a whole, as
    it would on a rule that has a redirect and no backends.
    """
    prefix = f"{spec.prefix}/" if spec.prefix else ""
    if spec.share is not None:
        yield _annotation(prefix + spec.share.annotation) if spec.share.annotation else _jq(spec.share.field)
    elif spec.annotations is None:
        for rule, items in spec.rules.items():
            yield from (_jq(rule, each, spec.weight) for each in items.split(" + "))
    elif spec.annotations.map:
        yield _annotation(prefix + spec.annotations.map)
    else:
        begins = f'select(startswith("{prefix}{spec.annotations.rules}"))'
        yield f".metadata.annotations[.metadata.annotations // {{}} | keys[] | {begins}]"


def _annotation(name: str) -> str:
    return f'.metadata.annotations["{name}"]'


def _jq(*paths: str) -> str:
    return "".join(_step(step) for path in paths if path for step in parse(path))


def _step(step: str | int | Each) -> str:
    if isinstance(step, Each):
        return "[]?"
    return f"[{step}]?" if isinstance(step, int) else f".{step}"


# ---- Flux ------------------------------------------------------------------------------------------------------------


def health_checks() -> str:
    """The patch of a Kustomization: how the health of our kinds is read."""
    plan = {"failed": _STALLED, "current": "has(status.phase) && has(status.conditions)"}
    other = {"failed": _READY.format("False"), "current": _READY.format("True")}
    kinds = {_PLAN: plan, **dict.fromkeys(CONFIGURING, other)}
    checks = [{"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, **exprs} for kind, exprs in kinds.items()]
    return _CHECKS + _yaml({"spec": {"healthCheckExprs": checks}})


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
