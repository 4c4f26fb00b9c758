"""All planes that the suite runs on."""

from collections.abc import Sequence

import pytest

from tests.routers import on_contour, on_istio, on_skipper, on_traefik
from tests.routers.plane import Plane

PLANES: Sequence[Plane] = (*on_contour.PLANES, *on_skipper.PLANES, *on_traefik.PLANES, *on_istio.PLANES)

ONE_EACH: Sequence[Plane] = list({(plane.gateway, plane.told): plane for plane in PLANES}.values())
"""For what a kind has no part in: one plane for each gateway, and for each way to know what it follows."""


def on(*planes: Plane) -> pytest.MarkDecorator:
    """A test that is run on each of these planes, with the fixtures `gateway`, `plane` and `shop`."""
    parameters = [
        pytest.param(
            plane.gateway,
            plane,
            id=f"{plane.gateway.__name__}-{type(plane).__name__}",
            marks=pytest.mark.extras(*plane.gateway.extras),
        )
        for plane in planes
    ]
    return pytest.mark.parametrize(("gateway", "plane"), parameters, indirect=["gateway"], scope="package")
