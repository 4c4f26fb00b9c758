"""The chart's memory limit follows from the figures that bound what the operator keeps."""

from pathlib import Path

import yaml

from rolloutplan.loop.budget import MAX_SHARED_TOTAL, MAX_TOTAL
from rolloutplan.loop.watch import CHUNK

MIB = 1 << 20
BASE = 110 * MIB
"""Of the process with one plan, as `make bench` measures it."""
PER_BYTE = 13
"""Bytes of memory for a byte of a plan's spec: of a plan of 800 queries as short as can be (tests/bench/limits.py)."""
RUNS = 1000
PER_RUN = 150 * 1024
"""Bytes of a run that soaks: its status, its measurements, its routes and Deployments."""
SOURCES = 64 * MIB
"""What all metric sources together may add, however hostile their answers are."""
OBJECT = 1536 * 1024
"""The largest object that etcd takes. One page of a list is in memory twice, as bytes and as text."""


def test_the_memory_limit_of_the_chart_is_the_sum_of_all_maxima() -> None:
    values = yaml.safe_load(Path("deploy/helm/rolloutplan/values.yaml").read_text())
    limit = values["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    needed = BASE + PER_BYTE * (MAX_TOTAL + MAX_SHARED_TOTAL) + RUNS * PER_RUN + SOURCES + 2 * CHUNK * OBJECT
    assert 0.85 * int(limit.removesuffix("Mi")) * MIB < needed < int(limit.removesuffix("Mi")) * MIB
