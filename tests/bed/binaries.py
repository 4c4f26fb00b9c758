"""`python -m tests.bed.binaries`: make all that is missing of the programs a bed runs."""

import sys

from tests.bed import tools


def main() -> int:
    try:
        made = tools.ensure(lambda line: print(line, flush=True))
    except tools.UnusableError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"all parts are in {made.prometheus.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
