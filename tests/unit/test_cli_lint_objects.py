"""`lint` compares a plan with the objects in its files: each table is a shop in order, with one thing changed."""
# ruff: noqa: E501 - each row of a table is one line, with the whole message

import json
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.cli.main import main

PLAN = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPlan
metadata: {name: checkout-v2, namespace: shop}
spec:
  old: {deployment: checkout-v1}
  new: {deployment: checkout-v2}
  traffic: {routes: [{kind: HTTPRoute, name: checkout}]}
  guards:
    - {name: errors, query: 'sum(rate(errors_total{deployment="$deployment"}[$window]))', is: "> 1"}
  stages: [{weights: [5%, 50%, 100%]}]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout-VERSION, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: checkout, version: VERSION}}
  template:
    metadata: {labels: {app: checkout, version: VERSION}}
    spec:
      containers: [{name: app, image: "checkout:VERSION", ports: [{name: http, containerPort: 8080}]}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: checkout-VERSION, namespace: shop}
spec:
  selector: {app: checkout, version: VERSION}
  ports: [{port: 80, targetPort: http}]
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout, namespace: shop}
spec:
  rules:
    - name: all
      backendRefs:
        - {name: checkout-v1, port: 80, weight: 100}
        - {name: checkout-v2, port: 80, weight: 0}
"""
V1, V2 = (DEPLOYMENT.replace("VERSION", version) for version in ("v1", "v2"))
S1, S2 = (SERVICE.replace("VERSION", version) for version in ("v1", "v2"))
SHOP = {"plan": PLAN, "v1": V1, "v2": V2, "s1": S1, "s2": S2, "route": ROUTE}


def found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str]
) -> tuple[int, list[tuple[str, str, str]]]:
    """Give the exit code, and of each finding file:line:column, severity and message."""
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    code = main(["lint", "-o", "json", str(tmp_path)])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return code, [
        (f"{Path(row['file']).stem}:{row['line']}:{row['column']}", row["severity"], row["message"]) for row in rows
    ]


def test_a_shop_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(tmp_path, capsys, SHOP) == (0, [])
    assert main(["lint", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 plan, 1 HTTPRoute, 2 Services, 2 Deployments checked; nothing found\n"


@pytest.mark.parametrize("without", ["v1 v2", "s1 s2", "route", "v1 v2 s1 s2 route"])
def test_kinds_that_are_not_among_the_files_at_all_are_nothing_to_speak_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], without: str
) -> None:
    assert found(tmp_path, capsys, {k: v for k, v in SHOP.items() if k not in without.split()}) == (0, [])


def test_objects_without_a_namespace_are_of_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = {name: text.replace(", namespace: shop", "") for name, text in SHOP.items()}
    assert found(tmp_path, capsys, bare) == (0, [])
    assert found(tmp_path, capsys, {**bare, "plan": PLAN}) == (0, [])


def test_messages_of_objects_without_a_namespace_name_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = {
        name: text.replace(", namespace: shop", "")
        for name, text in {**SHOP, "s1": S1.replace(", version: v1", "")}.items()
    }
    words = "Service checkout-v1 selects the pods of checkout-v1 and of checkout-v2 (app=checkout): add version: v1 to its selector"
    assert found(tmp_path, capsys, bare)[1] == [("s1:5:3", "warning", words)]


def test_what_kustomize_changes_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {**SHOP, "plan": TYPO, "kustomization": "nameSuffix: -v2\nresources: [plan.yaml]\n"}
    words = f"Kustomize changes the objects of this folder, so they are not compared: lint what it builds: kubectl kustomize {tmp_path} | rolloutplan lint -"
    assert found(tmp_path, capsys, files)[1] == [("kustomization:1:1", "hint", words)]
    plain = {**SHOP, "kustomization": "resources: [plan.yaml]\nnamespace: shop\n"}
    assert found(tmp_path, capsys, plain) == (0, [])


def test_objects_of_another_namespace_are_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = {name: text.replace("namespace: shop", "namespace: bank") for name, text in SHOP.items()}
    assert found(tmp_path, capsys, {**elsewhere, "plan": PLAN}) == (0, [])


TYPO = PLAN.replace("deployment: checkout-v2", "deployment: chekout-v2")
CONTRACT = PLAN + "  contract: {scaleOld: 0}\n"
ADMIN = ROUTE.replace("name: checkout, names", "name: admin, names").replace(
    "        - {name: checkout-v2, port: 80, weight: 0}\n", ""
)
TWO_RULES = ROUTE + "    - backendRefs: [{name: checkout-v1, port: 80}]\n"
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: checkout, namespace: shop}
spec:
  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: checkout-v1, port: {number: 80}}}}]}}]
"""


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # Names that are not among the files.
        ({"plan": TYPO}, [
            ("plan:6:9", "Deployment shop/chekout-v2 is not among these files (did you mean checkout-v2?)"),
            ("plan:7:22", "HTTPRoute shop/checkout must hold both Services checkout-v1 and chekout-v2, each once, in one rule; its rules hold checkout-v1, checkout-v2: add the missing one to backendRefs (weight 0 for the new side)"),
        ]),
        ({"plan": PLAN.replace("deployment: checkout-v2", "deployment: checkout-v2, service: chekout")}, [
            ("plan:6:34", "Service shop/chekout is not among these files"),
            ("plan:7:22", "HTTPRoute shop/checkout must hold both Services checkout-v1 and chekout, each once, in one rule; its rules hold checkout-v1, checkout-v2: add the missing one to backendRefs (weight 0 for the new side)"),
        ]),
        ({"s2": S2.replace("name: checkout-v2", "name: checkout-2")}, [
            ("plan:6:9", "Service shop/checkout-v2 is not among these files (did you mean checkout-2?): the Service of a side has the name of its Deployment, unless spec.new.service names it"),
        ]),
        ({"plan": PLAN.replace("name: checkout}", "name: chekout}")}, [
            ("plan:7:40", "HTTPRoute shop/chekout is not among these files (did you mean checkout?)"),
            ("route:6:7", "HTTPRoute checkout sends to checkout-v1 too, and the plan does not move that: name it in traffic.routes, or leave it if that is meant"),
        ]),
        ({"v1": V1.replace("kind: Deployment", "kind: StatefulSet")}, [
            ("plan:5:9", "checkout-v1 is a StatefulSet, and a side of a plan is a Deployment: name one"),
        ]),
        ({"route": ROUTE + "        - {name: chekout-v0, port: 80, weight: 0}\n"}, [
            ("route:10:12", "Service shop/chekout-v0 is not among these files"),
        ]),
        # Deployments.
        ({"v2": V2.replace("replicas: 3", "replicas: 0")}, [
            ("v2:5:3", "checkout-v2 is scaled to 0: give it replicas, or write expand.scale"),
        ]),
        ({"v1": V1.replace("replicas: 3", "replicas: 0")}, [
            ("v1:5:3", "checkout-v1 is the old side, and has no replicas: nobody answers before the run"),
        ]),
        ({"v2": V2.replace("replicas: 3", "paused: true")}, [
            ("v2:5:3", "the Deployment is paused: run `kubectl rollout resume deployment checkout-v2`"),
        ]),
        ({"v1": V1.replace("matchLabels: {app: checkout, version: v1}", "matchLabels: {app: checkout}")}, [
            ("v1:6:3", "checkout-v1 selects the pods of checkout-v2 too: add version: v1 to its labels and its selector, which needs a new Deployment"),
        ]),
        # Services.
        ({"s1": S1.replace(", version: v1", "")}, [
            ("s1:5:3", "Service shop/checkout-v1 selects the pods of checkout-v1 and of checkout-v2 (app=checkout): add version: v1 to its selector"),
        ]),
        ({"s2": S2.replace("version: v2", "version: v1")}, [
            ("s2:5:3", "Service shop/checkout-v2 selects app=checkout,version=v1: the pods of Deployment checkout-v1, and not those of checkout-v2: correct its selector, or the labels of the pod template"),
        ]),
        ({"s2": S2.replace("version: v2", "version: 2")}, [
            ("s2:5:3", "Service shop/checkout-v2 selects app=checkout,version=2, and the pods of Deployment checkout-v2 do not have these labels: correct its selector, or the labels of the pod template"),
        ]),
        ({"s2": S2.replace("  selector: {app: checkout, version: v2}\n", "")}, [
            ("s2:4:1", "Service shop/checkout-v2 has no selector, so it is not known who would get its traffic: name another Service, or write traffic.endpoints: Ignore to have none of this checked"),
        ]),
        ({"s2": S2.replace("spec:", "spec:\n  clusterIP: None")}, [
            ("s2:4:1", "Service shop/checkout-v2 is headless, so it is not known who would get its traffic: name another Service, or write traffic.endpoints: Ignore to have none of this checked"),
        ]),
        ({"s2": S2.replace("spec:", "spec:\n  type: ExternalName")}, [
            ("s2:5:3", "Service shop/checkout-v2 is of type ExternalName, so it is not known who would get its traffic: name another Service, or write traffic.endpoints: Ignore to have none of this checked"),
        ]),
        ({"s2": S2.replace("targetPort: http", "targetPort: web")}, [
            ("s2:6:22", "no container of checkout-v2 has a port called web (it has http): the Service would have no endpoints"),
        ]),
        ({"worker": V1.replace("name: checkout-v1", "name: checkout-worker").replace("version: v1}", "version: v1, part: worker}")}, [
            ("s1:5:3", "Service shop/checkout-v1 selects the pods of checkout-v1 and of checkout-worker: add a label that only the pods of checkout-v1 have to its selector"),
        ]),
        # Routes.
        ({"route": ROUTE.replace("port: 80, weight: 0", "port: 80")}, [
            ("route:9:11", "checkout-v2 has no weight, which counts as 1: it gets 1% of the traffic before any plan; write weight: 0"),
        ]),
        ({"route": ROUTE.replace(", weight: 100", "").replace(", weight: 0", "")}, [
            ("route:9:11", "checkout-v2 has no weight, which counts as 1: it gets 50% of the traffic before any plan; write weight: 0"),
        ]),
        ({"route": ROUTE.replace("weight: 0", "weight: 50")}, [
            ("route:9:41", "checkout-v2 has 33.3% of the traffic before the run, more than the first stage gives it (5%): write weight: 0, or begin the stages above it"),
        ]),
        ({"route": ROUTE.replace("weight: 100", "weight: 1").replace("weight: 0}", "weight: 0}\n        - {name: checkout-v1, port: 81, namespace: x, weight: 999999}")}, [
            ("plan:7:22", "HTTPRoute checkout rule 0 (all): its weights cannot give checkout-v2 the 5% of stage w5: they are whole numbers up to 1000000, so the finest step is 100%, and another backend has 999999: lower that one, or write 100%"),
        ]),
        ({"route": ROUTE.replace("weight: 100", "weight: 0")}, [
            ("plan:7:22", "HTTPRoute shop/checkout rule 0: checkout-v1 and checkout-v2 both have weight 0; give checkout-v1 the traffic first"),
        ]),
        ({"route": ROUTE.replace("        - {name: checkout-v2, port: 80, weight: 0}\n", "")}, [
            ("plan:7:22", "HTTPRoute shop/checkout must hold both Services checkout-v1 and checkout-v2, each once, in one rule; its rules hold checkout-v1: add the missing one to backendRefs (weight 0 for the new side)"),
        ]),
        ({"route": ROUTE.replace("name: checkout-v2, port", "name: checkout-v2, namespace: bank, port")}, [
            ("plan:7:22", "HTTPRoute shop/checkout must hold both Services checkout-v1 and checkout-v2, each once, in one rule; its rules hold Service/bank/checkout-v2, checkout-v1: add the missing one to backendRefs (weight 0 for the new side); its Service checkout-v2 is of namespace bank, and both must be of the plan's"),
        ]),
        ({"plan": PLAN.replace("name: checkout}]", "name: checkout, rules: [al]}]")}, [
            ("plan:7:22", "HTTPRoute shop/checkout has no rule 'al': correct spec.traffic.routes[].rules"),
        ]),
        ({"route": ROUTE.replace("checkout-v2, port: 80", "checkout-v2, port: 8080")}, [
            ("route:9:31", "Service checkout-v2 has no port 8080 (it has 80): write one that it has"),
        ]),
        ({"route": ROUTE.replace("checkout-v2, port: 80,", "checkout-v2,")}, [
            ("route:9:11", "checkout-v2 has no port here: write that of the Service"),
        ]),
        # Traffic that stays on the old side.
        ({"plan": CONTRACT, "route": TWO_RULES}, [
            ("route:10:7", "rule 1 sends to checkout-v1 alone: its requests stay there, so the old side is not removed: add checkout-v2 with weight: 0 to it"),
        ]),
        ({"plan": CONTRACT, "admin": ADMIN}, [
            ("admin:6:7", "HTTPRoute admin sends to checkout-v1 too, and the plan does not move that, so the old side is not removed: name it in traffic.routes"),
        ]),
        ({"plan": CONTRACT, "ingress": INGRESS}, [
            ("ingress:4:1", "Ingress checkout sends to checkout-v1 too, and a plan cannot move that, so the old side is not removed: send it through the HTTPRoute"),
        ]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_warning_where_it_is_to_be_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    code, rows = found(tmp_path, capsys, {**SHOP, **changed})
    assert sorted((place, words) for place, _, words in rows) == sorted(expected)
    assert code == 0
    assert main(["lint", "--strict", str(tmp_path)]) == (1 if any(row[1] == "warning" for row in rows) else 0)


OWNED = PLAN.replace("name: checkout}]}", "name: checkout}], ownership: Owned}")
ROUTE_OF_GATEWAY = ROUTE.replace("spec:\n", "spec:\n  parentRefs: [{name: gw}]\n")
TESTERS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: testers, namespace: shop}
spec:
  parentRefs: [{name: gw}]
  rules:
    - matches: [{headers: [{name: x-test, value: "1"}]}]
      backendRefs: [{name: checkout-v2, port: 80}]
"""
MADE = ROUTE_OF_GATEWAY.replace(
    "name: checkout,", 'name: checkout-rolloutplan, labels: {rolloutplan.dev/owned: "true"},', 1
)
WITH_METHOD = ROUTE.replace("    - name: all\n", "    - name: all\n      matches: [{method: GET}]\n")


@pytest.mark.parametrize(("route", "expected"), [
    (ROUTE, []),
    (ROUTE_OF_GATEWAY + "---\n" + MADE, []),
    (ROUTE_OF_GATEWAY + "---\n" + TESTERS, [("plan:7:22", "HTTPRoute checkout: HTTPRoute shop/testers has the same host and path /, and the operator's route takes its requests, as each of its matches names a method: name one in each match there, make its rules a part of checkout, or leave spec.traffic.ownership out")]),
    (WITH_METHOD, [("plan:7:22", "HTTPRoute checkout: rule 0 names a method, so the operator's route would not win over it: remove the method from the rule, or leave spec.traffic.ownership out")]),
])  # fmt: skip
def test_a_route_in_git_from_which_the_operator_makes_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], route: str, expected: list[tuple[str, str]]
) -> None:
    _, rows = found(tmp_path, capsys, {**SHOP, "plan": OWNED + "  contract: {scaleOld: 0}\n", "route": route})
    assert [(place, words) for place, _, words in rows] == expected


NEXT = PLAN.replace("checkout-v2", "checkout-v3").replace("checkout-v1", "checkout-v2")
NEXT_OWNED = OWNED.replace("checkout-v2", "checkout-v3").replace("checkout-v1", "checkout-v2")
BOTH = "neither begins while the other runs or its weights are not in Git; write the same in both, or remove the one whose release is over"


@pytest.mark.parametrize(("here", "there", "expected"), [
    (PLAN, NEXT, []),
    (OWNED, NEXT_OWNED, []),
    (OWNED, NEXT, [
        ("next:7:3", f"this plan moves the weights of HTTPRoute checkout, and RolloutPlan shop/checkout-v2 has the operator make a route of its own from that one: {BOTH}"),
        ("plan:7:58", f"this plan has the operator make a route of its own from HTTPRoute checkout, and RolloutPlan shop/checkout-v3 moves the weights of that one: {BOTH}"),
    ]),
    (OWNED, NEXT.replace("namespace: shop", "namespace: other"), []),
    (OWNED, NEXT.replace("kind: HTTPRoute", "kind: HTTPProxy"), []),
])  # fmt: skip
def test_two_plans_of_one_route_have_one_ownership(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], here: str, there: str, expected: list[tuple[str, str]]
) -> None:
    _, rows = found(tmp_path, capsys, {**SHOP, "plan": here, "next": there})
    assert sorted((place, words) for place, _, words in rows if "weights are not in Git" in words) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"route": TWO_RULES}, [("route:10:7", "rule 1 sends to checkout-v1 alone: its requests stay there: add checkout-v2 with weight: 0 to it, or leave it if that is meant")]),
        ({"ingress": INGRESS}, [("ingress:4:1", "Ingress checkout sends to checkout-v1 too, and a plan cannot move that: send it through the HTTPRoute, or leave it if that is meant")]),
        ({"route": ROUTE.replace("weight: 0", "weight: 1")}, [("route:9:41", "checkout-v2 has 1% of the traffic before the run: write weight: 0, unless that is meant")]),
        ({"route": ROUTE.replace("weight: 0", "weight: 1").replace("weight: 100", "weight: 0")}, [("route:9:41", "checkout-v2 has all of the traffic in HTTPRoute checkout: if this release has not run yet, old and new are swapped, and the plan judges nothing")]),
    ],
)  # fmt: skip
def test_what_may_be_meant_is_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    _, rows = found(tmp_path, capsys, {**SHOP, **changed})
    assert rows == [(place, "hint", words) for place, words in expected]


def test_a_plan_whose_side_has_all_of_the_traffic_while_another_goes_the_other_way_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back = PLAN.replace("checkout-v2, namespace", "checkout-back, namespace").replace(
        "deployment: checkout-v1", "deployment: checkout-v0"
    )
    back = back.replace("deployment: checkout-v2", "deployment: checkout-v1").replace(
        "deployment: checkout-v0", "deployment: checkout-v2"
    )
    ended = ROUTE.replace("weight: 0", "weight: 1").replace("weight: 100", "weight: 0")
    _, rows = found(tmp_path, capsys, {**SHOP, "route": ended, "zback": back})
    words = (
        "checkout-v2 has all of the traffic in HTTPRoute checkout, and RolloutPlan shop/checkout-back goes the other"
        " way: remove RolloutPlan shop/checkout-v2 if that release is over; if not, old and new are swapped, and the"
        " plan judges nothing"
    )
    assert rows == [("route:9:41", "warning", words)]


@pytest.mark.parametrize(
    "changed",
    [
        {"plan": PLAN.replace("traffic: {", "traffic: {endpoints: Ignore, "), "s1": S1.replace(", version: v1", "")},
        {"v2": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: checkout-v2, namespace: shop}\nspec: {replicas: 5}\n"},
        {"s2": "apiVersion: v1\nkind: Service\nmetadata: {name: checkout-v2, namespace: shop}\n"},
        {"route": "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: checkout, namespace: shop}\n"},
        {"knative": S1.replace("v1\nkind", "serving.knative.dev/v1\nkind").replace("checkout-v1", "cart")},
        {"plan": PLAN + "  expand: {scale: {new: MatchOld}}\n", "v2": V2.replace("replicas: 3", "replicas: 0")},
        {"route": ROUTE + "    - {matches: [{headers: [{name: x-test, value: y}]}], backendRefs: [{name: checkout-v2, port: 80}]}\n"},
        {"s2": S2.replace("targetPort: http", "targetPort: 8080")},
    ],
    ids=["not verified", "a patch of a Deployment", "of a Service", "of a route", "another API", "scaled", "testers", "a number"],
)  # fmt: skip
def test_what_is_right_is_not_spoken_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str]
) -> None:
    assert found(tmp_path, capsys, {**SHOP, **changed}) == (0, [])


# ---- autoscalers ---------------------------------------------------------------------------------

HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: checkout, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: checkout-VERSION}
  minReplicas: LEAST
  maxReplicas: 20
"""
ANY = """\
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  selector: {app: checkout}
  ports: [{port: 80, targetPort: http}]
"""
COUNT = "  replicas: 3\n"
KEDA = """\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: checkout, namespace: shop}
spec:
  scaleTargetRef: {name: checkout-VERSION}
"""


def scaler(text: str, version: str, least: int = 1) -> dict[str, str]:
    """A file with an autoscaler; with one of the old side, the new side has its own, of as many pods as there can be."""
    new = HPA.replace("name: checkout,", "name: new,").replace("VERSION", "v2").replace("LEAST", "20")
    files = {"hpa": text.replace("VERSION", version).replace("LEAST", str(least)), "v2": V2.replace(COUNT, "")}
    return files | ({"new": new, "v1": V1.replace(COUNT, "")} if version == "v1" else {})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"any": ANY}, [("any:5:3", "warning", "Service shop/checkout selects the pods of checkout-v1 and of checkout-v2: it sends its callers to both at once, also before the plan; add version: v1 to its selector")]),
        ({"any": ANY.replace("spec:", "spec:\n  clusterIP: None")}, []),
        ({"any": ANY, "route": ROUTE.replace("spec:", "spec:\n  parentRefs: [{kind: Service, group: '', name: checkout}]")}, []),
        ({"any": ANY.replace("app: checkout", "app: checkout, version: v1")}, []),
        ({"any": ANY.replace("app: checkout", "app: checkout, version: v0")}, [("any:5:3", "warning", "Service shop/checkout selects no pods of the Deployments among these files (app=checkout, version=v0), and checkout-v1 has another version: name its pods, or remove the Service")]),
        ({"any": ANY.replace("app: checkout", "app: checkout, component: redis")}, []),
        ({"any": ANY.replace("app: checkout", "app: redis, version: v0")}, []),
        ({"any": ANY.replace("name: checkout,", "name: checkout-1.0,").replace("app: checkout", "app: redis")}, [("any:3:12", "warning", "checkout-1.0 is not a name for a Service, because it has a dot: write checkout-1-0")]),
    ],
)  # fmt: skip
def test_services_that_no_plan_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    assert found(tmp_path, capsys, {**SHOP, **changed})[1] == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("checkout-v1", [("plan:6:9", "warning", "HorizontalPodAutoscaler shop/checkout scales checkout-v1, and nothing among these files scales checkout-v2: it keeps its number of pods at all weights; write an autoscaler for it")]),
        ("checkout-v2", []),
        ("chekout-v2", [("hpa:5:59", "warning", "scales nothing: Deployment shop/chekout-v2 is not among these files (did you mean checkout-v2?)")]),
    ],
)  # fmt: skip
def test_autoscalers_of_one_side_or_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, expected: list[tuple[str, str, str]]
) -> None:
    text = HPA.replace("LEAST", "20").replace("checkout-VERSION", target)
    files = {**SHOP, "hpa": text, "v1": V1.replace(COUNT, ""), "v2": V2.replace(COUNT, "")}
    assert found(tmp_path, capsys, files)[1] == expected


def test_replicas_that_an_autoscaler_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "HorizontalPodAutoscaler shop/checkout scales checkout-v2, and each apply of this file sets its replicas to 3 again: leave replicas out"
    assert found(tmp_path, capsys, {**SHOP, **scaler(HPA, "v2", 3), "v2": V2})[1] == [("v2:5:3", "hint", words)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (scaler(HPA, "v2"), [("hpa:6:3", "hint", "checkout-v2 may have 1 pod, and checkout-v1 has 3 or more: a weight waits for the pods that checkout-v2 wants, not for those that the traffic needs; write 3 for the run")]),
        (scaler(HPA, "v2", 3), []),
        (scaler(KEDA, "v2"), [("hpa:4:1", "warning", "checkout-v2 may be scaled to 0, and then no run starts (NewSideScaledToZero): write 1 or more for the run")]),
        (scaler(HPA, "v1", 3), [("hpa:6:3", "hint", "checkout-v1 may shrink to 3 pods when its traffic leaves: below 50% of the pods with which the run began (availability.old.atLeast) no weight rises, and a rollback lands on 3 of up to 20; write as many as can take the traffic back, for the run")]),
        (scaler(HPA, "v1", 11), [("hpa:6:3", "hint", "checkout-v1 may shrink to 11 pods when its traffic leaves: a rollback lands on 11 of up to 20; write as many as can take the traffic back, for the run")]),
        (scaler(HPA, "v1", 20), []),
        (scaler(KEDA, "v1"), [("hpa:4:1", "warning", "checkout-v1 may be scaled to 0 when its traffic leaves: nobody could take it back; write 1 or more for the run")]),
        ({**scaler(HPA, "v1", 20), "plan": CONTRACT}, [("plan:11:14", "warning", "HorizontalPodAutoscaler checkout scales checkout-v1, so the run does not: remove one of the two")]),
        ({**scaler(HPA, "v2", 3), "plan": PLAN + "  expand: {scale: {new: 5}}\n"}, [("plan:11:20", "warning", "HorizontalPodAutoscaler checkout scales checkout-v2, so the run does not: remove one of the two")]),
        (scaler(HPA.replace("kind: Deployment", "kind: StatefulSet"), "v1"), []),
    ],
)  # fmt: skip
def test_autoscalers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    assert found(tmp_path, capsys, {**SHOP, **changed})[1] == expected


# ---- other plans ---------------------------------------------------------------------------------

NEXT = PLAN.replace("checkout-v2", "checkout-v3").replace("checkout-v1", "checkout-v2")
OTHER = PLAN.replace("name: checkout-v2", "name: canary").replace("deployment: checkout-v2", "deployment: checkout-x")


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ({"b": PLAN}, [("plan:3:12", "RolloutPlan shop/checkout-v2 is in {}/b.yaml, line 1, too: the one that is applied last wins; a copy needs a name of its own")]),
        ({"b": NEXT}, []),
        ({"b": NEXT, "c": NEXT.replace("checkout-v3", "checkout-v4").replace("checkout-v2", "checkout-v3")}, []),
        ({"b": OTHER}, [("plan:7:22", "RolloutPlan shop/canary moves HTTPRoute checkout too: the later of the two waits for the other's end; name different rules (rules), or remove the plan that is done")]),
        ({"b": OTHER.replace("name: checkout}]", "name: checkout, rules: [a]}]"), "plan": PLAN.replace("name: checkout}]", "name: checkout, rules: [b]}]")}, []),
        ({"b": OTHER.replace("name: checkout}]", "name: admin}]")}, []),
        ({"b": OTHER.replace("namespace: shop", "namespace: bank")}, []),
        ({"z": PLAN.replace("name: checkout-v2", "name: checkout-v3").replace("deployment: checkout-v1", "deployment: checkout-v0")}, [
            ("z:6:9", "RolloutPlan shop/checkout-v2 brings checkout-v2 as well: is this a copy? Name the Deployment that is new here"),
            ("z:6:9", "the plan is called checkout-v3, and its new side is checkout-v2: is this a copy? Correct one of them"),
        ]),
        ({"plan": PLAN.replace("name: checkout-v2,", "name: checkout-v3,")}, [
            ("plan:6:9", "the plan is called checkout-v3, and its new side is checkout-v2: is this a copy? Correct one of them"),
        ]),
        ({"plan": PLAN.replace("name: checkout-v2,", "name: release-17,")}, []),
    ],
)  # fmt: skip
def test_plans_are_compared_with_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plans: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    _, rows = found(tmp_path, capsys, {"plan": PLAN, **plans})
    assert sorted(rows) == sorted((place, "warning", words.format(tmp_path)) for place, words in expected)


def test_the_weights_of_the_next_release_are_those_that_the_last_one_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    route = ROUTE + "        - {name: checkout-v3, port: 80, weight: 0}\n"
    v3, s3 = (text.replace("VERSION", "v3") for text in (DEPLOYMENT, SERVICE))
    assert found(tmp_path, capsys, {**SHOP, "route": route, "next": NEXT, "v3": v3, "s3": s3}) == (0, [])


# ---- sources, templates, policies, accounts ------------------------------------------------------

SOURCE = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: ClusterMetricSource
metadata: {name: prom}
spec: {prometheus: {url: "http://prometheus:9090"}}
"""
ASKS = PLAN + "  metrics: {source: NAME}\n"
POLICY = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: production}
spec: {require: {REQUIRE}}
"""
TEMPLATE = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: PredicateTemplate
metadata: {name: success-rate, namespace: shop}
spec: {indicates: Failure, query: 'sum(rate(errors_total{deployment="$deployment"}[$window]))', is: "> 1"}
"""
JOB = PLAN + (
    "  expand: {jobs: [{name: a, template: {spec: {template: {spec: "
    "{serviceAccountName: NAME, restartPolicy: Never, containers: [{name: a, image: a}]}}}}}]}\n"
)
ACCOUNT = 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: migrator, namespace: shop, labels: {rolloutplan.dev/jobs: "true"}}\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"plan": ASKS.replace("NAME", "prom")}, [("plan:11:13", "hint", "neither MetricSource prom of this namespace nor ClusterMetricSource prom is among these files: add its file, unless the cluster has it")]),
        ({"plan": ASKS.replace("NAME", "prom"), "source": SOURCE}, []),
        ({"plan": ASKS.replace("NAME", "prim"), "source": SOURCE}, [("plan:11:13", "hint", "neither MetricSource prim of this namespace nor ClusterMetricSource prim is among these files: did you mean prom?")]),
        ({"plan": PLAN, "source": SOURCE}, [("plan:4:1", "hint", "neither MetricSource default of this namespace nor ClusterMetricSource default is among these files: add its file, unless the cluster has it")]),
        ({"plan": ASKS.replace("NAME", "prom"), "source": SOURCE.replace("}}", "}, namespaces: [bank]}")}, [("plan:11:13", "warning", "ClusterMetricSource prom does not admit namespace shop: add it to spec.namespaces")]),
        ({"plan": ASKS.replace("NAME", "prom"), "source": SOURCE.replace("ClusterM", "M").replace("prom}", "prom, namespace: bank}")}, [("plan:11:13", "hint", "neither MetricSource prom of this namespace nor ClusterMetricSource prom is among these files: add its file, unless the cluster has it")]),
        ({"plan": ASKS.replace("NAME", "prom"), "source": SOURCE.replace("ClusterM", "M")}, []),
        ({"plan": PLAN.replace("  guards:\n", "  guards:\n    - {template: sucess-rate}\n"), "template": TEMPLATE}, [("plan:9:7", "hint", "template sucess-rate is not in these files (did you mean success-rate?), so its query cannot be checked: add its file")]),
        ({"plan": PLAN, "policy": POLICY.replace("REQUIRE", "soakAtLeast: 10m")}, [("plan:4:1", "warning", "policy production, require.soakAtLeast is 10m: stage w5 soaks for 5m: write a soak of at least 10m; no weight rises before")]),
        ({"plan": PLAN, "policy": POLICY.replace("REQUIRE", "soakAtLeast: 10m").replace("spec: {", "spec: {selector: {namespaces: [bank]}, ")}, []),
        ({"plan": PLAN.replace("  guards:\n", "  guards:\n    - {template: success-rate}\n"), "template": TEMPLATE, "policy": POLICY.replace("REQUIRE", "templates: Cluster")}, [("plan:4:1", "warning", "policy production, require.templates is Cluster: success-rate is a PredicateTemplate of namespace shop: delete that, or name a ClusterPredicateTemplate; no weight rises before")]),
        ({"plan": JOB.replace("NAME", "migrator"), "account": ACCOUNT}, []),
        ({"plan": JOB.replace("NAME", "migrater"), "account": ACCOUNT}, [("plan:11:65", "warning", "ServiceAccount shop/migrater is not among these files (did you mean migrator?)")]),
        ({"plan": JOB.replace("NAME", "migrator"), "account": ACCOUNT.replace("true", "no")}, [("plan:11:65", "warning", 'ServiceAccount shop/migrator has no label rolloutplan.dev/jobs: "true", so no Job of a plan runs under it: name one that has, or have its owner label it')]),
    ],
)  # fmt: skip
def test_what_a_plan_refers_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    assert found(tmp_path, capsys, files)[1] == expected


@pytest.mark.parametrize("broken", ["5", "[]", "{}", "null", "a"])
def test_objects_with_fields_of_wrong_types_break_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    """The API server would refuse them; here they may come first."""
    for field in ("spec", "metadata", "selector", "template", "labels", "ports", "rules", "backendRefs", "matchLabels"):
        files = {}
        for name, text in {**SHOP, **scaler(HPA, "v1")}.items():
            head, separator, tail = text.partition(f"{field}:")
            files[name] = f"{head}{field}: {broken}\n" if separator and name != "plan" else head + separator + tail
        assert main(["lint", *_written(tmp_path, files)]) in (0, 1, 2)
        assert capsys.readouterr().err == ""


def _written(tmp_path: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return [str(tmp_path / f"{name}.yaml") for name in files]


@pytest.mark.parametrize(
    ("matchers", "words"),
    [
        (
            'namespace="prod",deployment="$deployment"',
            'selects namespace="prod", and this plan is of namespace shop: write namespace="$namespace"',
        ),
        ('namespace="shop",deployment="$deployment"', ""),
        ('namespace="$namespace",deployment="$deployment"', ""),
        ('namespace="gateway-system",service="$service"', ""),
    ],
)
def test_a_query_of_another_namespace_is_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], matchers: str, words: str
) -> None:
    plan = PLAN.replace('deployment="$deployment"', matchers)
    _, rows = found(tmp_path, capsys, {**SHOP, "plan": plan})
    assert [row[1:] for row in rows] == ([("hint", words)] if words else [])
