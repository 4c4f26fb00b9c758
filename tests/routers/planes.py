"""All planes that the suite runs on."""

from collections.abc import Sequence

from tests.routers import on_contour, on_skipper, on_traefik
from tests.routers.plane import Plane

PLANES: Sequence[Plane] = (*on_contour.PLANES, *on_skipper.PLANES, *on_traefik.PLANES)
