"""A change freeze of the cluster: admission that refuses every change of an object."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bed import Bed, until
from tests.bed.api import MERGE_PATCH, ApiError


@contextmanager
def frozen(bed: Bed, path: str) -> Iterator[Callable[[], None]]:
    """A policy of the cluster that refuses every change of an object; yields what lifts it early."""
    _, _, group, _, _, namespace, resource, name = path.split("/")
    meta = {"name": f"frozen-{resource}"}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": meta}
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [resource]}
    validation = {"expression": f"object.metadata.name != '{name}'", "message": "there is a change freeze"}
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    policy = {**kind, "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}}
    spec = {"policyName": meta["name"], "validationActions": ["Deny"], "matchResources": where}
    binding = {**kind, "kind": "ValidatingAdmissionPolicyBinding", "spec": spec}

    def refuses() -> bool:
        try:
            bed.api("PATCH", f"{path}?dryRun=All", {"metadata": {"annotations": {"try": "it"}}}, MERGE_PATCH)
        except ApiError as error:
            return error.status == 422
        return False

    def lift() -> None:
        bed.delete(binding, policy)
        until(lambda: not refuses(), 30, "the end of the change freeze")

    bed.apply(policy, binding)
    try:
        until(refuses, 30, "the change freeze")
        yield lift
    finally:
        lift()
