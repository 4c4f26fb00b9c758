"""`python -m rolloutplan`."""

import gc
import sys

gc.disable()  # what is imported stays: looking through it, again and again while it grows, takes a tenth of the start
from rolloutplan.cli.main import main  # noqa: E402

gc.enable()

sys.exit(main())
