"""`python -m rolloutplan`."""

import sys

from rolloutplan.cli.main import main

sys.exit(main())
