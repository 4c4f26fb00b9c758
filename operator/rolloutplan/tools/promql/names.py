"""What the names of metrics say: counters, gauges. Pure."""

from __future__ import annotations

import re
from typing import Final

COUNTER: Final = ("_total", "_count", "_bucket")
_KNOWN_COUNTERS: Final = frozenset(
    {"envoy_cluster_upstream_rq", "nginx_ingress_controller_requests", "apisix_http_status"}
)
"""Counters of common exporters whose names do not look like counters."""
GAUGE: Final = re.compile(
    "(^|_)(up|ratio|info|percent|celsius|temperature|timestamp|usage|utilization|current|in_?flight|active|idle|pending"
    "|connections|goroutines|threads|fds|replicas|ready|queued?|depth|length|size|limit|capacity|memory|available|free"
    "|used|min|max|age|working_set|load(1|5|15))(_(bytes|seconds))?$"
)


def is_counter(name: str, *, known: bool = True) -> bool:
    """Whether a metric is named like a counter; with `known`, also one of common exporters that is named otherwise."""
    return name.endswith(COUNTER) or (known and name in _KNOWN_COUNTERS)


def is_summed(name: str) -> bool:
    """Whether a metric only grows: a counter, or the sum of a histogram."""
    return is_counter(name) or name.endswith("_sum")
