"""On which clusters the tests do not run, and why: before anything is changed there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from tests.bed.api import Api, ApiError, Manifest
from tests.bed.tools import OLDEST
from tests.shop import ROOT

GROUP = "rolloutplan.dev"
LABEL = "rolloutplan.dev/e2e"
"""On everything that a run makes: what an earlier one left, because it was killed, is found by it."""
NAMESPACE = "rolloutplan-e2e"
"""Of the Lease, and of the pod by which the image is tried."""
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_STUCK = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CrashLoopBackOff", "CreateContainerError")


class RefusedError(Exception):
    """The tests do not run here; the message is one line with what to do."""


def own_definitions() -> list[Manifest]:
    """The CRDs of this checkout."""
    return [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "deploy/crds").glob("*.yaml"))]


def confirmed(current: str, server: str, named: str) -> str:
    """Why the tests do not run on the cluster of the current context; empty where it was named."""
    if not current:
        fix = "name a kubeconfig in KUBECONFIG, or set its context with kubectl config use-context NAME"
        return f"there is no kubeconfig, or it has no current context: {fix}"
    if named == current:
        return ""
    where = f'the current context is "{current}" ({server})'
    if named:
        return f'{where}, and CONTEXT is "{named}": kubectl config use-context {named} changes over'
    does = "the tests make namespaces there, install CRDs and run an operator that serves all namespaces"
    return f"{where}: {does}. If that is meant, say so: make e2e CONTEXT={current}"


def check(api: Api) -> None:
    """Raise RefusedError where the cluster is too old, or has another installation or parts of one.

    What has LABEL is left over of an earlier run, and counts as nothing.
    """
    _check_version(api.get("/version"))
    if said := held(api.get("/apis/coordination.k8s.io/v1/leases")["items"], datetime.now(UTC)):
        raise RefusedError(said)
    stored = [each for each in api.get(DEFINITIONS)["items"] if each["spec"]["group"] == GROUP]
    stored = [each for each in stored if LABEL not in each["metadata"].get("labels", {})]
    if stored and (names := of_another_version(api, stored)):
        words = "the tests change none that they have not installed: update them, or use another cluster"
        raise RefusedError(f"the CRDs of the cluster are of another version ({', '.join(names)}): {words}")
    for definition in stored:
        _check_objects(api, definition)


def _check_version(said: Mapping[str, Any]) -> None:
    numbers = [int(re.match(r"\d*", str(said.get(part, ""))).group() or 0) for part in ("major", "minor")]  # type: ignore[union-attr]
    if tuple(numbers) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise RefusedError(f"the cluster runs Kubernetes {said.get('gitVersion')}: {oldest} or newer is needed")


def held(leases: Iterable[Manifest], now: datetime) -> str:
    """Who holds a Lease of an operator; empty where nobody does, or has not renewed it for longer than it lasts."""
    for each in leases:
        spec, meta = each.get("spec") or {}, each["metadata"]
        renewed, holder = spec.get("renewTime"), spec.get("holderIdentity")
        if "rolloutplan" not in meta["name"] or not (renewed and holder):
            continue
        age = (now - datetime.fromisoformat(renewed)).total_seconds()
        if age <= spec.get("leaseDurationSeconds", 15):
            name = f"{meta['namespace']}/{meta['name']}"
            what = "another operator serves this cluster, and both would move the same weights. Stop it, or use another"
            if meta["namespace"] == NAMESPACE:
                what = "a run of these tests is on, or was killed a moment ago: try again in a minute, or use another"
            return f"{holder} holds the Lease {name}: {what} cluster"
    return ""


def of_another_version(api: Api, stored: Sequence[Manifest]) -> list[str]:
    """The names of those that are not as this checkout has them, and of those that are missing.

    The API server fills in what a definition leaves out, in a dry run.
    """
    there = {each["metadata"]["name"]: each for each in stored}
    found = []
    for own in own_definitions():
        now = there.get(own["metadata"]["name"])
        if now is not None:
            path = f"{DEFINITIONS}/{own['metadata']['name']}?dryRun=All"
            then = api("PUT", path, {**now, "spec": own["spec"]})
        if now is None or then["spec"] != now["spec"]:
            found.append(own["metadata"]["name"])
    return found


def _check_objects(api: Api, definition: Manifest) -> None:
    plural, kind = definition["spec"]["names"]["plural"], definition["spec"]["names"]["kind"]
    try:
        every = api.get(f"/apis/{GROUP}/v1alpha1/{plural}")["items"]
    except ApiError:
        return  # it is not served: there can be none
    for each in every:
        if LABEL not in each["metadata"].get("labels", {}):
            meta = each["metadata"]
            name = "/".join(filter(None, (meta.get("namespace"), meta["name"])))
            words = "the operator of the tests would serve it. Remove it, or use another cluster"
            raise RefusedError(f"the cluster has the {kind} {name}: {words}")


def image_trouble(image: str, pods: Iterable[Manifest]) -> str:
    """Why no pod of the image runs, in the words of the cluster."""
    said = ""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in _STUCK:
                said = f" ({waiting['reason']}: {waiting.get('message', '')})"
    needs = "IMAGE names one that the cluster can pull and that stays running, as registry.k8s.io/pause:3.10"
    return f"no pod of the image {image} became ready{said}: {needs}"
