"""How long `rolloutplan lint` takes for a folder of 500 manifests, from the start of the process to its end.

It needs no cluster. `python -m tests.bench.linting` prints the table alone.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.table import Row, percentile, text

FILES: Final = 500
BAR: Final = 3.0
"""Seconds: what a pipeline, or a person before a commit, waits for without noticing."""
RUNS: Final = 5

_PLAN: Final = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPlan
metadata: {name: APP-v2, namespace: shop}
spec:
  old: {deployment: APP-v1}
  new: {deployment: APP-v2}
  traffic: {routes: [{kind: HTTPRoute, name: APP}]}
  guards:
    - name: errors
      query: |
        1 - sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment",code!~"5.."}[$window]))
          / sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment"}[$window]))
      is: "> 5%"
      window: 1m
      minSamples:
        query: sum(increase(http_requests_total{namespace="$namespace",deployment="$deployment"}[$window]))
        atLeast: 50
    - name: worse
      events:
        bad: http_requests_total{namespace="$namespace",deployment="$deployment",code=~"5.."}
        total: http_requests_total{namespace="$namespace",deployment="$deployment"}
      vsOld: "> 1.5x"
  stages:
    - {name: canary, weight: 5%, soak: 10m, deadline: 1h}
    - {name: ramp, weights: [25%, 50%, 100%], soak: 5m, deadline: 30m}
  bake: 30m
"""
_DEPLOYMENT: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: APP-VERSION, namespace: shop, labels: {app: APP}}
spec:
  replicas: 3
  selector: {matchLabels: {app: APP, version: VERSION}}
  template:
    metadata: {labels: {app: APP, version: VERSION}}
    spec:
      containers:
        - name: app
          image: registry.example.com/APP:VERSION
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /ready, port: http}}
          resources: {requests: {cpu: 100m, memory: 128Mi}}
"""
_SERVICE: Final = """\
apiVersion: v1
kind: Service
metadata: {name: APP-VERSION, namespace: shop}
spec:
  selector: {app: APP, version: VERSION}
  ports: [{name: http, port: 80, targetPort: http}]
"""
_ROUTE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: APP, namespace: shop}
spec:
  parentRefs: [{name: public}]
  rules:
    - backendRefs:
        - {name: APP-v1, port: 80, weight: 100}
        - {name: APP-v2, port: 80, weight: 0}
"""


def linting() -> list[Row]:
    """The slowest of some runs, over a plan, a route, two Deployments and two Services for each application."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        before = _processor()
        took = [_run(folder) for _ in range(RUNS)]
        spent = (_processor() - before) / RUNS
    measured = f"{percentile(took, 50):.1f} s, at most {max(took):.1f} s ({spent:.1f} s of one core)"
    return [Row(f"lint of a folder of {FILES} files", f"max <= {BAR:.0f} s", measured, max(took) <= BAR)]


def write(folder: Path) -> None:
    """Write the manifests, an object in each file."""
    sides = [text.replace("VERSION", version) for version in ("v1", "v2") for text in (_DEPLOYMENT, _SERVICE)]
    objects = [_PLAN, _ROUTE, *sides]
    for i in range(FILES):
        application, kind = divmod(i, len(objects))
        (folder / f"{i:03}.yaml").write_text(objects[kind].replace("APP", f"app{application}"))


def _processor() -> float:
    """Seconds that the processes before have taken of a core: the rest of the time they waited for one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(folder: str) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "rolloutplan", "lint", folder]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"{FILES // 6 + 1} plans" in said.stdout, said.stdout[-500:]
    return time.monotonic() - began


if __name__ == "__main__":
    print(text(linting()))
