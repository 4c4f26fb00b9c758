"""`python -m tests.bed.binaries [EXTRA ...]`: make what is missing of the programs of every bed, and of some extras."""

import argparse
import sys

from tests.bed import extras, tools


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bed.binaries")
    parser.add_argument("extras", nargs="*", help="names in extras.py")
    chosen = parser.parse_args().extras
    if unknown := set(chosen) - extras.EXTRAS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; the extras are {', '.join(extras.EXTRAS)}")
    try:
        made = tools.ensure(_say)
        extras.ensure(chosen, _say)
    except tools.UnusableError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what is made is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    print(f"all parts are in {made.prometheus.parent}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
