"""The templates that ship, on what gateways really write: each finds the series of both sides."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bed import Bed, contour, skipper, traefik, until
from tests.routers.planes import PLANES
from tests.routers.routed import Routed
from tests.templates import SIDES, WINDOW, asked, scraping, total, value

PORT = 9193
"""Of the Prometheus for the first kind in READ; each has its own."""
READ = {
    "HTTPProxy": ("-envoy", contour.STATS_PORT, "/stats/prometheus"),
    "SkipperIngress": ("-skipper", skipper.SUPPORT_PORT, "/metrics"),
    "TraefikService": ("-traefik", traefik.PING_PORT, "/metrics"),
    "IngressRoute": ("-traefik", traefik.PING_PORT, "/metrics"),
}
"""The templates for the gateway of a kind, and where its metrics are."""
COUNTED = ("-envoy", "-traefik")
"""Those that have counters with a label for the side."""
FAILS = 0.3

EACH = pytest.mark.parametrize(
    ("gateway", "plane"),
    [
        pytest.param(
            plane.gateway,
            plane,
            id=f"{plane.gateway.__name__}-{plane.kind}",
            marks=pytest.mark.extras(*plane.gateway.extras),
        )
        for plane in PLANES
        if plane.kind in READ
    ],
    indirect=["gateway"],
    scope="package",
)


@contextmanager
def half_and_half(bed: Bed, shop: Routed) -> Iterator[str]:
    """A Prometheus with the metrics of the shop's gateway, while half of the traffic goes to each side."""
    _, port, path = READ[shop.plane.kind]
    own = PORT + [*READ].index(shop.plane.kind)
    bed.behave("checkout-v2", shop.namespace, errors=FAILS)
    shop.weigh(50, 50)
    shop.mixes()
    load = shop.load(rate=80, seconds=120)
    try:
        with scraping(bed.programs.prometheus, bed.workdir, own, {port: path}) as url:
            until(
                lambda: asked(url, f"count(count_over_time(up[{WINDOW.seconds + 2}s]) >= {WINDOW.seconds})").value,
                60,
                "a window of samples",
            )
            yield url
    finally:
        load.kill()
        bed.behave("checkout-v2", shop.namespace, errors=0.0)


@EACH
def test_a_gateway_has_what_its_templates_read(bed: Bed, shop: Routed) -> None:
    suffix, _, _ = READ[shop.plane.kind]
    with half_and_half(bed, shop) as metrics:
        assert value(metrics, f"success-rate{suffix}", shop.namespace, "old") == 1
        assert value(metrics, f"success-rate{suffix}", shop.namespace, "new") == pytest.approx(1 - FAILS, abs=0.15)
        for side in SIDES:
            assert value(metrics, f"latency{suffix}", shop.namespace, side) is not None
            if suffix in COUNTED:
                assert total(metrics, f"more-errors{suffix}", shop.namespace, side) > 0
