"""`python -m tests.demo`: v2 goes out, v3 comes back. Exit code 0 only when both ended so.

KEEP=1 leaves all up; PICTURE=demo.svg keeps the screen as it is once v3 has come back.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import requests
from rich.console import Console

from tests.bed import Bed, UnusableError, until
from tests.bed.__main__ import _directions as directions
from tests.bed.api import ApiError
from tests.bed.load import Load
from tests.bed.tools import Progress
from tests.demo.play import EXAMPLES, Play
from tests.demo.summary import WEIGHTS, tell, well
from tests.demo.views import console, kept, shown
from tests.shop import Operator, Shop, install

RATE = 200.0
A_DAY = 86_400.0
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    out = console()
    try:
        return _demo(out)
    except KeyboardInterrupt:
        out.print("Ended; nothing of it is left.")
        return 130
    except UnusableError as error:
        print(error, file=sys.stderr)
        return 2
    except (ApiError, OSError, RuntimeError, requests.RequestException) as error:
        print(f"The demo could not go on: {error}", file=sys.stderr)
        return 1


def _interrupt(_: int, __: FrameType | None) -> None:
    """End it. The tidying up that follows is not interrupted again."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _demo(out: Console) -> int:
    def say(line: str) -> None:
        out.print(line, markup=False, soft_wrap=True)

    say("waiting for etcd, API server, controller manager, Traefik, Prometheus, node ...")
    with Bed.up(progress=say) as bed:
        began = time.time()
        say("waiting for our CRDs ...")
        install(bed)
        say("waiting for the operator ...")
        with Operator(bed) as operator:
            shop, load = _open(bed, say)
            with shown(out) as show:
                wanted = os.environ.get("PICTURE")
                story = Play(shop, load, operator, kept(show, Path(wanted)) if wanted else show, began).run()
            tell(out, story, bed)
            good = well(out, story)
            if os.environ.get("KEEP"):
                say(directions(bed))
                with suppress(KeyboardInterrupt):
                    signal.pause()
            return 0 if good else 1


def _open(bed: Bed, say: Progress) -> tuple[Shop, Load]:
    """The shop as examples/demo has it, with answers from it."""
    shop = Shop(bed, "shop")
    for name in ("1-shop.yaml", "2-metrics.yaml"):
        say(f"kubectl apply -f examples/demo/{name}")
        bed.kubectl("apply", "-f", str(EXAMPLES / name))
    say("waiting for the pods ...")
    for deployment in WEIGHTS:
        bed.wait_ready(shop.namespace, deployment)
    say(f"waiting for answers to {RATE:.0f} requests a second ...")
    load = bed.load(shop.host, RATE, A_DAY)
    until(lambda: load.total() > RATE, 20, "answers")
    return shop, load


if __name__ == "__main__":
    sys.exit(main())
