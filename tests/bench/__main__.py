"""`make bench`: every figure, one after the other, and the table at the end."""

import argparse
import platform
import sys
from collections.abc import Callable
from os import cpu_count

from tests.bed import Bed
from tests.bench import figures, standing
from tests.bench.applying import applying
from tests.bench.asking import asking
from tests.bench.hostile_sources import hostile_sources
from tests.bench.limits import limits
from tests.bench.linting import linting
from tests.bench.table import Row, measured, text
from tests.shop import Operator, install


def main() -> int:
    """Measure and print; 0 whatever was measured: a figure that is missed is a finding, not a failure."""
    parser = argparse.ArgumentParser(prog="tests.bench")
    parser.add_argument("only", nargs="*", help="names of figures (default: all)")
    parser.add_argument("--runs", type=int, default=20, help="runs of the figures that are distributions")
    chosen = parser.parse_args()
    rows: list[Row] = []
    with Bed.up(progress=print) as bed:
        install(bed)
        with Operator(bed) as operator:
            for name, measure in _figures(bed, operator, chosen.runs).items():
                if not chosen.only or name in chosen.only:
                    print(f"measuring: {name}", flush=True)
                    rows += measured(name, measure)
    print(f"\n{cpu_count()} cores, Python {platform.python_version()}, all parts on this machine\n")
    print(text(rows))
    return 0


def _figures(bed: Bed, operator: Operator, runs: int) -> dict[str, Callable[[], list[Row]]]:
    return {
        "requests": lambda: figures.requests_a_minute(bed),
        "detection": lambda: figures.detection(bed, runs),
        "control": lambda: figures.repeated_control(bed, operator, runs),
        "storm": lambda: figures.control(bed, operator, 50, "max <= 0.4 s", 0.4),
        "answers": lambda: figures.lost_answers(bed),
        "words": lambda: standing.words_and_drift(bed, 50),
        "failover": lambda: standing.failover(bed, operator, 50, 3),
        "restart": lambda: standing.restart(bed, operator, 1000),
        "asking": lambda: asking(bed),
        "hostile": hostile_sources,
        "limits": limits,
        "linting": linting,
        "apply": lambda: applying(bed),
        "memory-1": lambda: figures.memory(bed, operator, 1, 110),
        "memory-100": lambda: figures.memory(bed, operator, 100, 125),
    }


sys.exit(main())
