"""A refusal for want of a right names the verb, the resource, the object, and what gives the right."""

import pytest

from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.missing_rights import missing_right

CANNOT = 'is forbidden: User "system:serviceaccount:ops:rolloutplan" cannot'
ROUTES = "httproutes.gateway.networking.k8s.io"
ALWAYS = "the chart always gives it: install the release again; or give its account"
BY_A_LABEL = "by a ClusterRole with the label rolloutplan.dev/routers"


def said(verb: str, resource: str, name: str = "", namespace: str = "pay") -> str:
    """What the API server says; `resource` with its group, as `deployments/scale.apps`."""
    plural, _, group = resource.partition(".")
    kind = ".".join(filter(None, (plural.partition("/")[0], group)))
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    named = f'{kind} "{name}"' if name else kind
    return f'{named} {CANNOT} {verb} resource "{plural}" in API group "{group}" {where}'


@pytest.mark.parametrize(
    ("refused", "told", "given"),
    [
        (said("patch", ROUTES, "shop"), f'patch {ROUTES} "shop" in namespace pay', "add HTTPRoute to `routers`"),
        (said("list", ROUTES, namespace=""), f"list {ROUTES}", "or give its account get, list, watch and patch"),
        (said("list", "ingresses.networking.k8s.io"), "list ingresses", "add AlbIngress or NginxCanary or Skipper"),
        (said("patch", "meshsplits.mesh.example.com", "m"), 'patch meshsplits.mesh.example.com "m"', BY_A_LABEL),
        (said("create", ROUTES), f"create {ROUTES} in namespace pay", "with ownedRoutes.enabled; or give its account"),
        (said("create", "jobs.batch"), "create jobs.batch in namespace pay", "with jobs.enabled; or give its account"),
        (said("get", "serviceaccounts", "j"), 'get serviceaccounts "j"', "the chart gives it with jobs.enabled"),
        (said("patch", "deployments/scale.apps", "v2"), 'patch deployments.apps/scale "v2"', "with scaling.enabled"),
        (
            said("patch", "deployments/scale.apps"),
            "patch deployments.apps/scale",
            'apiGroups: ["apps"], resources: [deployments/scale], verbs: [patch]',
        ),
        (said("patch", "services", "v2"), 'patch services "v2" in namespace pay', "add Replicas to `routers`"),
        (said("get", "services", "v2"), 'get services "v2"', f'{ALWAYS} apiGroups: [""]'),
        (said("list", "endpointslices.discovery.k8s.io"), "list endpointslices.discovery.k8s.io", ALWAYS),
        (
            said("patch", "rolloutplans/status.rolloutplan.dev", "p"),
            "patch rolloutplans.rolloutplan.dev/status",
            ALWAYS,
        ),
        (said("patch", "leases.coordination.k8s.io", "rp"), 'patch leases.coordination.k8s.io "rp"', ALWAYS),
        (said("list", "pods") + ': RBAC: clusterrole "gone" not found', "list pods in namespace pay", ALWAYS),
    ],
)
def test_a_missing_right_is_told_with_what_gives_it(refused: str, told: str, given: str) -> None:
    words = missing_right(ApiError(403, "Forbidden", refused))
    assert words is not None and words.startswith(f"the operator may not {told}"), words
    assert given in words


@pytest.mark.parametrize(
    "refused",
    [
        f'admission webhook "policy" denied the request: {said("patch", ROUTES)}',
        f"{ROUTES} \"shop\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: {said('patch', ROUTES)}",
        'jobs.batch "j" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1',
        'pods "p" is forbidden: violates PodSecurity "restricted:latest"',
        "",
    ],
)
def test_what_is_refused_for_another_reason_keeps_its_words(refused: str) -> None:
    assert missing_right(ApiError(403, "Forbidden", refused)) is None
