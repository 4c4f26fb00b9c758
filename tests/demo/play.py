"""The play itself: the plans are applied one after the other, and watched until they have ended."""

import time
from collections.abc import Callable

import yaml

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Phase
from tests.bed.load import Load
from tests.demo import BAD, GOOD
from tests.demo.rollback import Sighting, measure
from tests.demo.summary import ENDS, Story
from tests.demo.views import Show
from tests.demo.watch import Moment, Watch
from tests.shop import ROOT, Operator, Shop

EXAMPLES = ROOT / "examples/demo"
FILES = {GOOD: EXAMPLES / "3-checkout-v2.yaml", BAD: EXAMPLES / "4-checkout-v3.yaml"}
LOOK_EVERY = 0.2
ENDS_WITHIN = 60.0
AFTERWARDS = 2.0
"""Seconds in which what is still on its way arrives: the last answers of v3, the last Event."""


class Play:
    def __init__(self, shop: Shop, load: Load, operator: Operator, show: Show, began: float) -> None:
        self._shop = shop
        self._load = load
        self._operator = operator
        self._show = show
        self._watch = Watch(shop, load, began)

    def run(self) -> Story:
        """Both plans; v3 only where v2 has got there, as there is nothing to go back to otherwise."""
        visible: float | None = None
        self._apply(GOOD)
        moment = self._until(lambda now: _ended(now, GOOD), ENDS_WITHIN)
        if moment.status(GOOD).phase is ENDS[GOOD]:
            spec = read_plan_spec(yaml.safe_load(FILES[BAD].read_text())["spec"])
            with Sighting(self._shop.bed, self._shop.namespace, BAD, spec) as sighting:
                self._apply(BAD)
                self._until(lambda now: _ended(now, BAD), ENDS_WITHIN)
            visible = sighting.at
            moment = self._until(lambda _: False, AFTERWARDS)
        return Story(
            moment=moment,
            weights=self._shop.traffic(),
            counts=self._load.counts(),
            rollback=measure(self._shop.bed, self._load, "v3", moment.status(BAD), visible),
        )

    def _apply(self, plan: str) -> None:
        self._shop.bed.kubectl("apply", "-f", str(FILES[plan]))

    def _until(self, over: Callable[[Moment], bool], seconds: float) -> Moment:
        """Watch and show until it is over, or for so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            moment = self._watch.snapshot()
            self._show(moment)
            if over(moment) or time.monotonic() > deadline:
                return moment
            if not self._operator.process.running():
                raise RuntimeError(f"the operator has ended:\n{self._operator.process.log.read_text()[-2000:]}")
            time.sleep(LOOK_EVERY)


def _ended(moment: Moment, plan: str) -> bool:
    return moment.status(plan).phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
