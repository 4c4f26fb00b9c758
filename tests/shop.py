"""A shop on the bed: two or three versions of `checkout` behind one route, and an operator that is one process.

What tests, the benchmark and the demo start from.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import Template
from typing import Any, Self
from uuid import uuid4

import yaml

from tests.bed import Bed, objects
from tests.bed.api import MERGE_PATCH, ApiError, Manifest
from tests.bed.behaviour import PREFIX
from tests.bed.processes import Process, answers, page, until
from tests.world import World, named

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy/helm/rolloutplan"
OPERATOR = "operator"
"""The user of the bed that has the rights of the chart, and no others."""
HEALTH_PORT = 8811
METRICS_ABOVE = 1000
"""How far above its probes an operator of the tests has its metrics."""
ALL_PLANS = "/apis/rolloutplan.dev/v1alpha1/rolloutplans"
PLANS = "/apis/rolloutplan.dev/v1alpha1/namespaces/{}/rolloutplans/{}"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes/{}"
RECORDS = "/apis/rolloutplan.dev/v1alpha1/namespaces/{}/rolloutrecords"
EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"

ERRORS = (
    'sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment",code="500"}[$window])) / '
    'sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment"}[$window]))'
)
SLOW = (
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket{"
    'namespace="$namespace",deployment="$deployment"}[$window])))'
)
TOO_MANY_ERRORS = {"name": "new-errors", "query": ERRORS, "is": "> 5%", "window": "10s"}


def define(bed: Bed, checkout: Path = ROOT) -> None:
    """Put the CRDs of a checkout in the place of those that are there."""
    for path in sorted((checkout / "deploy/crds").glob("*.yaml")):
        bed.apply(yaml.safe_load(path.read_text()))


def install(bed: Bed) -> None:
    """The CRDs, a metric source for everybody, and the chart's rights for the user `operator`."""
    define(bed)
    until(lambda: _served(bed), 120, "the CRDs")
    bed.apply(metric_source(bed.prometheus_url), *rights(bed))


def rights(bed: Bed) -> list[Manifest]:
    """What the chart lets an operator do to which it lends all, with every kind of route; bound to OPERATOR."""
    kinds = ",".join(yaml.safe_load((CHART / "routers.yaml").read_text()))
    lent = (
        "jobs.enabled=true,scaling.enabled=true,ownedRoutes.enabled=true,image.repository=bed/rolloutplan,image.tag=v1"
    )
    image = "image.repository=bed/rolloutplan,image.tag=v1"
    values = (f"--set={lent},{image}", f"--set=routers={{{kinds}}}")
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR}
    found = []
    for each in yaml.safe_load_all(bed.helm("template", "rolloutplan", str(CHART), "-n", "default", *values)):
        if each["kind"] in ("ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"):
            of_the_bed(each["metadata"])
            found.append(each)
        if "roleRef" in each:
            of_the_bed(each["roleRef"])
            each["subjects"] = [user]
    return found


def of_the_bed(named: dict[str, Any]) -> None:
    """Give it a name that no release of the chart has."""
    named["name"] = f"bed-{named['name']}"


def _served(bed: Bed) -> bool:
    try:
        bed.get("/apis/rolloutplan.dev/v1alpha1/rolloutplans")
        bed.get("/apis/rolloutplan.dev/v1alpha1/clustermetricsources")
        bed.get("/apis/rolloutplan.dev/v1alpha1/clusterpredicatetemplates")
        bed.get("/apis/rolloutplan.dev/v1alpha1/rolloutrecords")
        bed.get("/apis/rolloutplan.dev/v1alpha1/notifiers")
    except ApiError:
        return False
    return True


def metric_source(url: str, name: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rolloutplan.dev/v1alpha1",
        "kind": "ClusterMetricSource",
        "metadata": {"name": name},
        "spec": {"prometheus": {"url": url}, "scrapeInterval": "1s", "timeout": "2s", **spec},
    }


THIS_PROGRAM = (sys.executable, "-m", "rolloutplan")


class Operator:
    """`rolloutplan operator` as a process: started, killed, started again."""

    def __init__(
        self,
        bed: Bed,
        user: str = "admin",
        options: Sequence[str] = (),
        *,
        kubeconfig: Path | None = None,
        port: int = HEALTH_PORT,
        name: str = "operator",
        program: Sequence[str] = THIS_PROGRAM,
        checkout: Path = ROOT,
    ) -> None:
        """Several can run at once, each with a `port` for its probes and a `name` for its log of its own.

        `kubeconfig` leads to the API server in another way than straight as `user`; `program` is another
        installation than that of this checkout. Another `checkout` may know fewer options: those are left out.
        """
        self._bed = bed
        alone = "--cluster-lease-namespace="  # several stand on a bed, each for a Lease of its own
        lent = (alone, "--jobs", "--scaling", "--owned-routes", f"--job-metadata={PREFIX}*")
        ports = [f"--health-port={port}", f"--metrics-port={port + METRICS_ABOVE}"]
        # Prometheus and the API server of the bed share an address, which is one of this machine too.
        hosts = (f"--source-hosts={bed.address}", f"--notifier-hosts={bed.address}")
        knows = (checkout / "operator/rolloutplan/cli/serve.py").read_text()
        wanted = (*ports, *lent, *options, *hosts, *bed.operator_options)
        arguments = ["operator", *(each for each in wanted if _field(each) in knows)]
        imported = bed.thrifty and program is THIS_PROGRAM and checkout == ROOT
        self.url, self.metrics = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + METRICS_ABOVE}/metrics"
        self.process = Process(
            name,
            arguments if imported else [*program, *arguments],
            bed.workdir,
            lambda: answers(f"{self.url}/readyz"),
            env={"KUBECONFIG": str(kubeconfig or bed.kubeconfig(user)), "PYTHONPATH": str(checkout / "operator")},
            imported=imported,
        )

    def __enter__(self) -> Self:
        try:
            self.process.start()
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def log(self) -> Iterator[dict[str, Any]]:
        """Its log, line by line; a line that is not JSON fails the test that reads it."""
        with self.process.log.open() as lines:
            for line in lines:
                yield json.loads(line)

    def counted(self, metric: str, *labels: str) -> float:
        """One of its own metrics, all series together that have these labels, as `code="200"`."""
        lines = page(self.metrics).splitlines()
        ours = (line for line in lines if line.split("{")[0].split(" ")[0] == metric)
        return sum(float(line.split()[-1]) for line in ours if all(label in line for label in labels))

    def judges(self, times: int, timeout: float = 60.0) -> None:
        """Wait until it has judged so often again as it takes to judge each predicate of each run `times`.

        By then it has seen what there is to be seen.
        """
        wanted = self.counted("rolloutplan_verdicts_total") + times * max(1, self._predicates())
        until(lambda: self.counted("rolloutplan_verdicts_total") >= wanted, timeout, f"verdict {times} more", every=0.2)

    def _predicates(self) -> int:
        """How many predicates it judges in turn, at most: those of all plans that have started and not ended."""
        specs = [plan["spec"] for plan in self._bed.get(ALL_PLANS)["items"] if _runs(plan)]
        return sum(len(spec.get("guards", ())) + max(map(_judged, spec["stages"])) for spec in specs)

    def leads(self) -> bool:
        return self.process.running() and answers(f"{self.url}/leading")

    def cpu(self) -> float:
        """Seconds of a core that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the operator is gone")


def _field(option: str) -> str:
    """The parameter of `serve` that an option sets."""
    return option.partition("=")[0].removeprefix("--").replace("-", "_")


def notifier(url: str, namespace: str) -> dict[str, Any]:
    """What sends every decision about the plans of a namespace to a webhook."""
    return {
        "apiVersion": "rolloutplan.dev/v1alpha1",
        "kind": "Notifier",
        "metadata": {"name": "told", "namespace": namespace},
        "spec": {"webhook": {"url": url}},
    }


def _runs(plan: Mapping[str, Any]) -> bool:
    over = ("", "Pending", "Invalid", "Succeeded", "RolledBack")
    return plan.get("status", {}).get("phase", "") not in over


def _judged(stage: Mapping[str, Any]) -> int:
    return sum(len(stage.get(role, ())) for role in ("pass", "fail", "warn"))


def job(**behaviour: str) -> dict[str, Any]:
    """A Job of one pod that is tried once and behaves like this (tests/bed/behaviour.py)."""
    annotations = {PREFIX + key.replace("_", "-"): value for key, value in behaviour.items()}
    pods = {"serviceAccountName": "jobs", "restartPolicy": "Never", "containers": [{"name": "job", "image": "bed/job"}]}
    template = {"metadata": {"annotations": annotations}, "spec": pods}
    return {"template": {"spec": {"backoffLimit": 0, "template": template}}}


def assumption(name: str, **probe: Any) -> dict[str, Any]:
    """What a plan assumes, probed by a Job if nothing else is said."""
    return {"name": name, "belief": f"{name} is so", "impact": 3, "uncertainty": 3, **(probe or {"job": job()})}


@dataclass
class Shop:
    """One namespace with its versions of `checkout`, a route and a plan."""

    bed: Bed
    namespace: str
    serves: str = field(default="checkout", kw_only=True)
    """The name of the route."""
    weights: Mapping[str, int] = field(default_factory=lambda: {"checkout-v1": 100, "checkout-v2": 0})
    replicas: int = 2
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ports: Sequence[str] = ("http",)
    """The names of those that its pods answer on."""

    def open(self, ready: bool = True) -> "Shop":
        """Create everything but the plan, and wait until it stands."""
        self.bed.apply(objects.namespace(self.namespace), objects.jobs_account(self.namespace))
        for name in self.weights:
            version = name.rpartition("-")[2]
            extra = self.annotations.get(name, {})
            self.bed.apply(
                objects.deployment(name, self.namespace, version, self.replicas, extra, self.ports),
                objects.service(name, self.namespace, self.ports),
            )
        self.bed.apply(*self.routes())
        if ready:
            for name in self.weights:
                self.bed.wait_ready(self.namespace, name)
                until(partial(self._has_endpoints, name), 30, f"the endpoints of {self.namespace}/{name}")
        return self

    def routes(self) -> list[Manifest]:
        """What leads from its host to its versions, by their weights."""
        return self.bed.routing.manifests(self.serves, self.weights, self.namespace, self.host)

    def _has_endpoints(self, service: str) -> bool:
        """Whether a Service has an endpoint for each pod: on a busy machine they come seconds after the pods."""
        return self.endpoints(service) >= self.replicas

    def endpoints(self, service: str) -> int:
        """How many ready endpoints a Service has."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        slices = self.bed.get(f"{path}?labelSelector=kubernetes.io/service-name%3D{service}")["items"]
        endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or ()]
        return sum(bool(each.get("conditions", {}).get("ready")) for each in endpoints)

    @property
    def host(self) -> str:
        return f"{self.namespace}.example.com"

    def close(self) -> None:
        self.bed.end_loads(self.host)
        self.bed.delete(objects.namespace(self.namespace))

    # ---- the plan ------------------------------------------------------------------------------------------------

    def plan(self, name: str = "checkout", **spec: Any) -> dict[str, Any]:
        """A plan from v1 to v2, quick enough for a test; `spec` overrides its fields."""
        full: dict[str, Any] = {
            "old": {"deployment": "checkout-v1"},
            "new": {"deployment": "checkout-v2"},
            "traffic": self.bed.routing.traffic("checkout"),
            "interval": "1s",
            "guards": [TOO_MANY_ERRORS],
            "stages": [{"weights": ["25%", "100%"], "soak": "6s", "deadline": "60s"}],
            **spec,
        }
        return {
            "apiVersion": "rolloutplan.dev/v1alpha1",
            "kind": "RolloutPlan",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": full,
        }

    def start(self, name: str = "checkout", **spec: Any) -> None:
        self.bed.apply(self.plan(name, **spec))

    def stored(self, name: str = "checkout") -> dict[str, Any]:
        found: dict[str, Any] = self.bed.get(PLANS.format(self.namespace, name))
        return found

    def status(self, name: str = "checkout") -> dict[str, Any]:
        found: dict[str, Any] = self.stored(name).get("status", {})
        return found

    def phase(self, name: str = "checkout") -> str:
        return str(self.status(name).get("phase", ""))

    def until(self, *phases: str, name: str = "checkout", timeout: float = 30.0) -> dict[str, Any]:
        """Wait for one of these phases (or `phase/stage`); returns the status then."""
        seen: dict[str, Any] = {}

        def there() -> bool:
            seen.update(now=self.status(name))
            stage = seen["now"].get("stage", {}).get("name", "")
            phase = seen["now"].get("phase", "")
            return phase in phases or f"{phase}/{stage}" in phases

        try:
            until(there, timeout, f"phase {' or '.join(phases)}", every=0.2)
        except TimeoutError as error:
            now = seen.get("now") or {}
            # What says most comes first: whoever shows a failure may cut it.
            first = {field: now.get(field) for field in ("phase", "message", "waitingFor", "predicates", "metrics")}
            raise TimeoutError(f"{error}; status is {json.dumps({**first, **now})}") from None
        result: dict[str, Any] = seen["now"]
        return result

    def looked_at_again(self, name: str = "checkout") -> None:
        """Have the operator hear of a plan, and then of another one; wait until it has said something of that."""
        change = {"metadata": {"labels": {"heard": uuid4().hex}}}
        self.bed.api("PATCH", PLANS.format(self.namespace, name), change, MERGE_PATCH)
        after = f"after-{uuid4().hex[:6]}"
        self.start(after, traffic={"routes": [{"kind": "HTTPRoute", "name": "nowhere"}]})
        until(lambda: self.status(after).get("reason"), 30, "a word on the plan after it")
        self.bed.delete(self.plan(after))

    # ---- a person ------------------------------------------------------------------------------------------------

    def say(self, command: str, name: str = "checkout") -> None:
        """Write a command into the plan's annotations."""
        words = ("annotate", "--overwrite", "rp", name, "-n", self.namespace)
        self.bed.kubectl(*words, f"rolloutplan.dev/command={command}")

    def approve(self, name: str = "checkout") -> None:
        """Approve what waits for it, if anything does."""
        if self.status(name).get("reason") == "AwaitingApproval":
            self.say("approve a1", name)

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `rolloutplan` as admin, whatever comes of it."""
        env = {**os.environ, "KUBECONFIG": str(self.bed.kubeconfig()), "PYTHONPATH": str(ROOT / "operator")}
        command = [*THIS_PROGRAM, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)

    def measured(self, query: str, deployment: str, window: str) -> float | None:
        """What Prometheus says now to a predicate's question."""
        words = {"namespace": self.namespace, "deployment": deployment, "window": window}
        return self.bed.query(Template(query).substitute(words))

    # ---- the world around it ---------------------------------------------------------------------------------------

    def route(self) -> dict[str, Any]:
        found: dict[str, Any] = self.bed.get(ROUTES.format(self.namespace, self.serves))
        return found

    def traffic(self) -> dict[str, int]:
        """The weights in the route's first rule."""
        return self.bed.routing.weights(self.bed.api, self.namespace, self.serves)

    def size(self, deployment: str) -> int:
        """How many pods a Deployment is to have."""
        found = self.bed.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{deployment}")
        return int(found["spec"]["replicas"])

    def created_jobs(self) -> list[str]:
        """The Jobs that the API server has ever created here, by its audit log, in their order."""
        about = {"resource": "jobs", "namespace": self.namespace}
        return [
            entry["objectRef"]["name"]
            for entry in self.bed.audit(words=[f'"{self.namespace}"', '"jobs"', '"create"'])
            if entry["verb"] == "create" and entry["responseStatus"]["code"] == 201
            if about.items() <= entry["objectRef"].items() and "subresource" not in entry["objectRef"]
        ]

    def job_name(self, task: str, name: str = "checkout", *, run: int = 1, attempt: int = 1) -> str:
        """The name of the Job for a task of a plan."""
        return named(task, run=run, attempt=attempt, world=World(name, self.stored(name)["metadata"]["uid"]))

    def events(self, name: str = "checkout") -> list[dict[str, Any]]:
        """The Events about a plan, in the order of their decisions."""
        items = self.bed.get(EVENTS.format(self.namespace))["items"]
        about = {"kind": "RolloutPlan", "name": name}
        ours = [e for e in items if about.items() <= e.get("regarding", {}).items()]
        return sorted(ours, key=lambda e: int(e["metadata"]["name"].rpartition(".")[2]))

    def reasons(self, name: str = "checkout") -> list[str]:
        """The reasons of the Events about a plan, once each decision in its present status has one."""
        last = self.status(name).get("seq", 0)
        until(lambda: len(self.events(name)) >= last, 30, f"the Events of {self.namespace}/{name}")
        return [event["reason"] for event in self.events(name)]

    def records(self, name: str = "checkout") -> list[dict[str, Any]]:
        """The records of the runs of a plan, the newest last."""
        items = self.bed.get(RECORDS.format(self.namespace))["items"]
        return sorted((e for e in items if e["spec"]["plan"] == name), key=lambda e: int(e["spec"]["run"]))

    def trail(self, name: str = "checkout") -> list[dict[str, Any]]:
        """The decisions about a plan: their numbers have no gap, and each has exactly one Event."""
        stored = self.stored(name)
        decisions: list[dict[str, Any]] = stored["status"]["decisions"]
        seqs = [decision["seq"] for decision in decisions]
        names = [event["metadata"]["name"] for event in self.events(name)]
        uid = stored["metadata"]["uid"][:8]
        assert seqs == list(range(1, len(seqs) + 1)), f"decisions {seqs}"
        assert names == [f"{name}.{uid}.{seq}" for seq in seqs], f"Events {names}"
        return decisions


@contextmanager
def timed() -> Iterator[list[float]]:
    """Seconds that a block took, as the only element of the list that it gives."""
    took: list[float] = []
    began = time.monotonic()
    yield took
    took.append(time.monotonic() - began)
