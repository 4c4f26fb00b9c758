"""Matchers of status codes that fit no code, or that ask for a label which the metric does not have."""

import pytest

from rolloutplan.tools.promql.queries import lint_counter, lint_query
from rolloutplan.tools.promql.traps import Asking

SPRING = "http_server_requests_seconds_count"
OTHER = "http_requests_total"
WRONG: list[tuple[str, str, str]] = [
    (SPRING, 'status="5.."', 'status="5.." fits no request, because = compares letters: write status=~"5.."'),
    (OTHER, 'code="5xx.*"', 'code="5xx.*" fits no request, because = compares letters: write code=~"5.."'),
    (OTHER, 'code!="5.."', 'code!="5.." leaves out no request, because != compares letters: write code!~"5.."'),
    (OTHER, 'code="4..|5.."', 'code="4..|5.." fits no request, because = compares letters: write code=~"[45].."'),
    (OTHER, 'status=~">=500"', 'status=~">=500" fits no request: write status=~"5.."'),
    (OTHER, 'status=">=500"', 'status=">=500" fits no request: write status=~"5.."'),
    (OTHER, 'status=~"500-599"', 'status=~"500-599" fits no request: write status=~"5.."'),
    (OTHER, 'status=~"500,503"', 'status=~"500,503" fits no request: write status=~"5.."'),
    (SPRING, 'status=~"5xx"', 'status=~"5xx" fits no request: write status=~"5.."'),
    (SPRING, 'status!~"5xx"', 'status!~"5xx" leaves out no request: write status!~"5.."'),
    (SPRING, 'status=~"5"', 'status=~"5" fits no request: write status=~"5.."'),
    ("envoy_cluster_upstream_rq_xx", 'envoy_response_code_class=~"5.."',
     'envoy_response_code_class=~"5.." fits no request: write envoy_response_code_class="5"'),
    (SPRING, 'code=~"5.."', (f'{SPRING} has the status code in the label status, so code=~"5.." fits no request:'
     ' write status=~"5.."')),
    (SPRING, 'code!~"5.."', (f'{SPRING} has the status code in the label status, so code!~"5.." leaves out no request:'
     ' write status!~"5.."')),
    ("istio_requests_total", 'status="503"', ("istio_requests_total has the status code in the label response_code, so"
     ' status="503" fits no request: write response_code="503"')),
    ("traefik_service_requests_total", 'status=~"5.."', ("traefik_service_requests_total has the status code in the"
     ' label code, so status=~"5.." fits no request: write code=~"5.."')),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "matcher", "words"), WRONG)
def test_a_matcher_that_fits_no_code(metric: str, matcher: str, words: str) -> None:
    counter = f"{metric}{{{matcher}}}"
    for found in (lint_counter(counter, "bad"), lint_query(f"sum(rate({counter}[1m]))", Asking())):
        assert [(each.severity, each.words) for each in found if each.rule == "status-code"] == [("warning", words)]


def test_the_text_5xx_is_right_for_few_servers() -> None:
    words = 'code=~"5xx" is the text 5xx, and most servers write 500: write code=~"5..", unless yours writes 5xx'
    assert [(each.severity, each.words) for each in lint_counter(f'{OTHER}{{code=~"5xx"}}', "bad")] == [("hint", words)]


@pytest.mark.parametrize(
    ("metric", "matcher"),
    [
        (SPRING, 'status=~"5.."'),
        (SPRING, 'status!~"5.*"'),
        (SPRING, 'status="503"'),
        (SPRING, 'status=~"500|502"'),
        (SPRING, 'status=~"[45].."'),
        (SPRING, r'status=~"5\\d\\d"'),
        (SPRING, 'status=~"(4|5).+"'),
        (SPRING, 'outcome="SERVER_ERROR"'),
        (SPRING, 'status="UNKNOWN"'),
        (SPRING, 'status=~"5..",code="x"'),
        (OTHER, 'code=~"5.."'),
        (OTHER, 'code="0"'),
        (OTHER, 'code=~"OK|Unavailable"'),
        (OTHER, 'status="20"'),
        (OTHER, 'status_class=~"5xx"'),
        (OTHER, 'path="/5.."'),
        ("envoy_cluster_upstream_rq_xx", 'envoy_response_code_class="5"'),
        ("envoy_cluster_upstream_rq", 'envoy_response_code=~"5.."'),
        ("istio_requests_total", 'response_code=~"5.*"'),
        ("traefik_service_requests_total", 'code=~"5.."'),
        ("nginx_ingress_controller_requests", 'status=~"5.."'),
    ],
)
def test_a_matcher_that_fits_codes(metric: str, matcher: str) -> None:
    assert [each for each in lint_counter(f"{metric}{{{matcher}}}", "bad") if each.rule == "status-code"] == []
