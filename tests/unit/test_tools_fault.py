"""How large a fault is, and whether a predicate shows one of this size: by the form of its query and its bound."""

from typing import Any

import pytest

from rolloutplan.api.predicate import Predicate
from rolloutplan.tools.fault import read_fault, shows

ALL = 'sum(rate(http_requests_total{d="$deployment"}[$window]))'
BAD = f'sum(rate(http_requests_total{{d="$deployment",code=~"5.."}}[$window])) / {ALL}'
GOOD = f'(sum(rate(http_requests_total{{d="$deployment",code!~"5.."}}[$window])) or 0 * {ALL}) / {ALL}'
REQUESTS = "http_server_requests_seconds_count"
SPRING = f'sum(rate({REQUESTS}{{status="500"}}[1m])) / sum(rate({REQUESTS}[1m]))'
P99 = 'histogram_quantile(0.99, sum by (le) (rate(d_seconds_bucket{d="$deployment"}[$window])))'
MEAN = "sum(rate(d_seconds_sum[1m])) / sum(rate(d_seconds_count[1m]))"
FAST = 'sum(rate(d_seconds_bucket{le="0.3"}[1m])) / sum(rate(d_seconds_count[1m]))'
EVENTS = {"bad": "b_total", "total": "a_total"}
SLOW = {"histogram": "d_seconds", "slowerThan": "500ms"}
SIZES = ("10%", "2x", "60%", "all")


@pytest.mark.parametrize(
    ("judged", "found"),
    [
        ({"query": BAD, "is": "> 5%"}, (True, False, True, True)),
        ({"query": BAD, "is": "> 0.05"}, (True, False, True, True)),
        ({"query": BAD, "is": "> 50%"}, (False, False, True, True)),
        ({"query": f"100 * {BAD}", "is": "> 5"}, (True, False, True, True)),
        ({"query": f"{BAD} * 100", "is": "> 50"}, (False, False, True, True)),
        ({"query": f"100 - 100 * {GOOD}", "is": "> 5"}, (True, False, True, True)),
        ({"query": f"1 - {GOOD}", "is": "> 5%"}, (True, False, True, True)),
        ({"query": f"2 - {GOOD}", "is": "> 5%"}, (None, None, None, None)),
        ({"query": GOOD, "is": "< 99%"}, (True, False, True, True)),
        ({"query": GOOD, "is": "< 50%"}, (False, False, True, True)),
        ({"query": GOOD, "vsOld": "< 0.99x"}, (True, False, True, True)),
        ({"query": GOOD, "vsOld": "< -0.2"}, (False, False, True, True)),
        ({"query": BAD, "vsOld": "> 1.5x"}, (True, True, True, True)),
        ({"query": BAD, "vsOld": "> +150%"}, (True, False, True, True)),
        ({"query": BAD, "vsOld": "> +0.5"}, (False, False, True, True)),
        ({"query": SPRING, "is": "> 1%"}, (True, False, True, True)),
        ({"query": FAST, "is": "< 99%"}, (True, False, True, True)),
        ({"query": P99, "is": "> 0.8"}, (True, None, True, True)),
        ({"query": P99.replace("0.99", "0.5"), "is": "> 0.8"}, (False, None, True, True)),
        ({"query": P99, "vsOld": "> 1.5x"}, (True, True, True, True)),
        ({"query": P99, "vsOld": "> 2x"}, (True, False, True, True)),
        ({"query": MEAN, "is": "> 0.3"}, (None, None, None, True)),
        ({"query": "max(cpu_busy_ratio)", "is": "> 80%"}, (None, None, None, None)),
        ({"query": "sum(cpu_used) / sum(cpu_limit)", "is": "> 80%"}, (None, None, None, None)),
        ({"query": "sum(rate(cache_hits_total[1m])) / sum(rate(cache_reads_total[1m]))", "is": "< 50%"}, (None,) * 4),
        ({"query": "max(queue)", "vsOld": "> 1.5x"}, (None, True, None, None)),
        ({"query": "max(queue)", "vsOld": "> +3"}, (None, None, None, None)),
        ({"query": "sum((x", "is": "> 3"}, (None, None, None, None)),
        ({"alert": {"matchers": 'severity="page"'}}, (None, None, None, None)),
        ({"events": EVENTS, "is": "> 5%"}, (True, False, True, True)),
        ({"events": EVENTS, "is": "< 95%"}, (True, False, True, True)),
        ({"events": EVENTS, "vsOld": "> 1.5x"}, (True, True, True, True)),
        ({"events": SLOW, "is": "> 20%"}, (False, False, True, True)),
    ],
)
def test_whether_a_fault_shows(judged: dict[str, Any], found: tuple[bool | None, ...]) -> None:
    """The usual share of bad requests is 0.1 %; None: nothing says what is measured."""
    predicate = Predicate.model_validate({"name": "a", **judged})
    assert tuple(shows(read_fault(size), predicate, 0.001) for size in SIZES) == found


def test_a_share_cannot_be_more_than_all() -> None:
    assert read_fault("2000x").bad_share(0.001) == 1
    assert read_fault("0.01%").bad_share(0.001) == 0.001, "nor less than usual"
