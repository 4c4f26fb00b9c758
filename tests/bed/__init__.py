"""A test bed of real parts on one machine: see bed.py."""

from tests.bed.bed import Bed
from tests.bed.processes import Stopwatch, until
from tests.bed.tools import UnusableError

__all__ = ["Bed", "Stopwatch", "UnusableError", "until"]
