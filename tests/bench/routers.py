"""`make bench-routers`: each kind of route that really runs here: how soon a weight is in force, and what is lost."""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from uuid import uuid4

from tests.bed import Bed, extras
from tests.bench.table import Row, measured, percentile, text
from tests.routers.plane import Gateway, Plane
from tests.routers.planes import PLANES
from tests.routers.routed import Routed
from tests.routers.runs import dark, forth_and_back
from tests.shop import Operator, install

CHANGES = 20
"""How often the weights of a kind are changed for its times: their median and their largest are told."""


def main() -> int:
    """Measure and print; 0 whatever was measured: a figure that is missed is a finding, not a failure."""
    parser = argparse.ArgumentParser(prog="tests.bench.routers")
    parser.add_argument("only", nargs="*", help="kinds of route, or gateways (default: all)")
    chosen = parser.parse_args().only
    planes = [p for p in PLANES if not chosen or {p.kind, p.gateway.__name__} & set(chosen)]
    extras.ensure((name for plane in planes for name in plane.gateway.extras), print)
    rows: list[Row] = []
    with Bed.up(progress=print) as bed:
        install(bed)
        with Operator(bed):
            for gateway, on_it in groupby(planes, key=lambda plane: plane.gateway):
                rows += _on(bed, gateway, list(on_it))
    print(f"\n{text(rows)}")
    return 0


def _on(bed: Bed, kind: type[Gateway], planes: list[Plane]) -> Iterator[Row]:
    gateway = kind(bed)
    try:
        gateway.start()
        for plane in planes:
            where = f"{plane.kind} on {kind.__name__}"
            for figure in (_effect, _lost, *([_mirrored] if "mirror" in plane.can else [])):
                print(f"measuring: {where}", flush=True)
                yield from measured(where, partial(_of_a_shop, figure, where, bed, gateway, plane))
    finally:
        gateway.kill()


Figure = Callable[[str, Routed], Row]
"""What is measured of a kind on a gateway, which are named, by a shop of its own."""


def _of_a_shop(figure: Figure, where: str, bed: Bed, gateway: Gateway, plane: Plane) -> list[Row]:
    shop = Routed(bed, f"routed-{uuid4().hex[:6]}", plane=plane, gateway=gateway)
    try:
        shop.open()
        shop.follows("v1")
        return [figure(where, shop)]
    finally:
        shop.close()


def _effect(where: str, shop: Routed) -> Row:
    took = []
    for n in range(CHANGES):
        old, new = (0, 100) if n % 2 == 0 else (100, 0)
        shop.weigh(old, new)
        took.append(shop.follows("v2" if new else "v1"))
    settle = shop.plane.spec.accepted.settle
    limit = settle.total_seconds() if settle else 5.0
    words = f"p50 {percentile(took, 50):.2f} s, max {max(took):.2f} s, {len(took)} changes"
    return Row(
        f"{where}: all weight written -> the last answer of the other side",
        f"max <= {limit:g} s",
        words,
        max(took) <= limit,
    )


def _lost(where: str, shop: Routed) -> Row:
    load = forth_and_back(shop)
    sent, lost = load.total(), load.lost()
    return Row(f"{where}: answers lost over a rollout and a rollback", "0", f"{lost} of {sent}", lost == 0)


def _mirrored(where: str, shop: Routed) -> Row:
    share, answers, copies, seen = dark(shop)
    deviation = 3 * (share * (1 - share) / answers) ** 0.5
    shown = seen["v2"]
    words = f"{copies} copies of {answers} requests ({copies / answers:.1%}), {shown} answers of the new side seen"
    reached = abs(copies / answers - share) <= deviation and not shown
    return Row(f"{where}: a mirror of {share:.0%}", f"{share:.0%} +- {deviation:.1%}, and none seen", words, reached)


if __name__ == "__main__":
    sys.exit(main())
