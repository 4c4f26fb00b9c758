"""`make bench-faults`: many plans, two replicas, and all that can fail around them failing, for minutes on end.

Parts fail (chaos.py), the cluster moves (disturbances.py), and plans of several kinds run again and again meanwhile
(soaking.py). An observer who talks to the API server alone says whether a promise was broken (observer.py).
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from os import cpu_count
from pathlib import Path

from tests.bed import Bed
from tests.bed.balancer import Balancer
from tests.bed.faults import KINDS, PORT, FaultProxy
from tests.bed.netns import ADDRESS
from tests.bed.processes import until
from tests.bench.chaos import MISFORTUNES, Chaos
from tests.bench.disturbances import DISTURBANCES, Disturbances
from tests.bench.observer import Findings, Observer
from tests.bench.soaking import Plans
from tests.bench.table import Row, text
from tests.shop import HEALTH_PORT, Operator, install, metric_source

SHARE = 0.2
CUT_EVERY = 4.0
FINISH_WITHIN = 240.0
"""Seconds in which all must come to its end when nothing fails any more."""
TOLD_WITHIN = 60.0
MARGIN = 180
"""Seconds for bringing everything up and down, after which the whole is killed."""
SHOWN = 20
"""Findings of one sort that are printed in full."""
SECOND_PROMETHEUS = 9091
GATEWAYS_PROXY = PORT + 10


def soak(bed: Bed, minutes: float, count: int, seed: int) -> list[Row]:
    """Let everything fail for so many minutes, then nothing, until all plans have ended; returns what was found."""
    plans = Plans(bed, count, random.Random(seed))
    with ExitStack() as stack:
        another = bed.another_prometheus("prometheus-b", SECOND_PROMETHEUS)
        stack.callback(another.kill)
        another.start()
        metrics = [(bed.prometheus, bed.prometheus_url), (another, f"http://{ADDRESS}:{SECOND_PROMETHEUS}")]
        balancer = stack.enter_context(Balancer(bed, [url for _, url in metrics]))
        bed.apply(metric_source(balancer.url))
        gateways_proxy = stack.enter_context(FaultProxy(bed, "gateways-proxy", GATEWAYS_PROXY))
        bed.lead_gateway_through(gateways_proxy.url)
        observer = stack.enter_context(Observer(bed))
        proxy = stack.enter_context(FaultProxy(bed))
        replicas = [stack.enter_context(_replica(bed, proxy, name)) for name in "ab"]
        plans.open(60 * minutes + FINISH_WITHIN + 60)
        proxy.faults(SHARE, KINDS, seed)
        proxy.cut_watches(CUT_EVERY)
        chaos = Chaos(bed, replicas, metrics, gateways_proxy, seed)
        disturbances = Disturbances(bed, plans, seed)
        print(f"everything fails for {minutes:g} minutes, seed {seed}", flush=True)
        with chaos.raging(), disturbances.going_on():
            _go_on(plans, 60 * minutes, again=True)
        proxy.faults(0)
        proxy.cut_watches(0)
        print("nothing fails any more; the plans come to their ends", flush=True)
        _go_on(plans, FINISH_WITHIN, again=False)
        with suppress(TimeoutError):
            until(lambda: not observer.findings().untold, TOLD_WITHIN, "the last Events", every=1)
        happened = _happened(plans, chaos.counts + disturbances.counts, proxy.counts, observer.findings())
        for replica, (_, url) in zip("ab", metrics, strict=True):
            happened[f"answers of replica {replica} of Prometheus"] = balancer.answered[url]
        wrong = _wrong(plans, chaos, observer.findings(), chaos.failed + disturbances.failed)
    return [
        *(Row(figure, "some", str(number), number > 0) for figure, number in happened.items()),
        *(Row(figure, "0", str(len(items)), not items) for figure, items in wrong.items()),
    ]


def _replica(bed: Bed, proxy: FaultProxy, name: str) -> Operator:
    port = HEALTH_PORT + ord(name) - ord("a")
    options = [f"--identity={name}"]
    return Operator(bed, options=options, kubeconfig=proxy.kubeconfig(), port=port, name=f"replica-{name}")


def _go_on(plans: Plans, seconds: float, *, again: bool) -> None:
    """For so long, or until there is nothing more to come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (again or not all(plan.ended for plan in plans.all)):
        plans.turn(again)
        time.sleep(1)


def _happened(plans: Plans, counts: Counter[str], faults: Mapping[str, int], found: Findings) -> dict[str, int]:
    """How often each event came: one that never came has shown nothing."""
    disagreed = "instants at which two replicas of Prometheus disagree"
    return {
        **{what: counts[what] for what in (*MISFORTUNES, disagreed, *DISTURBANCES)},
        "Services that lost their last endpoint": found.emptied,
        "`resume` after Git had moved the weights": plans.resumed,
        **{f"requests answered with {kind}": faults.get(str(kind), 0) for kind in KINDS},
        "requests that went through": faults["requests"],
        "of these refused, and done all the same": faults.get("done all the same", 0),
        "watches cut": faults.get("watches cut", 0),
        "watches told that their version is too old": faults.get("watches expired", 0),
        "versions seen by the observer": found.versions,
        "changes of weights": found.moves,
        "decisions": sum(found.decisions.values()),
        "rollouts": found.decisions.get("Succeeded", 0),
        "rollbacks": found.decisions.get("RolledBack", 0),
        "answers served": sum(load.total() for load in plans.loads),
    }


def _wrong(plans: Plans, chaos: Chaos, found: Findings, failed: list[str]) -> dict[str, list[str]]:
    """What must not be, and each time that it was; printed too."""
    wrong = {
        "routes and pods with answers lost": [
            f"{load.lost()} of {load.total()}: {load.counts()}" for load in plans.loads if load.lost()
        ],
        "wrong weights and records, as seen from outside": _each(found.violations),
        "weights given to a Service without endpoints": _each(found.nobody),
        "Succeeded over an outage": _each(found.green),
        "stages proved beside an undecided guard": _each(found.undecided),
        "stages proved while no metrics could be had": list(_blind(found.proved, chaos.outages)),
        "waits without a word, and Ready before the end": _each(found.wordless),
        "plans with a decision without its one Event": _each(found.untold),
        "runs that ended as they must not": plans.wrong,
        "plans that came to no end": plans.unfinished(),
        "replicas that ended by themselves": chaos.exits,
        "events that could not be made any more": failed,
    }
    for figure, items in wrong.items():
        print("\n".join([f"\n{figure}:", *items[:SHOWN]]) if items else f"{figure}: none", flush=True)
    return wrong


def _each(by_plan: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{plan}: {words}" for plan, said in by_plan.items() for words in said]


def _blind(proved: Sequence[Sequence[str]], outages: Sequence[tuple[datetime, datetime]]) -> Iterator[str]:
    """Stages that were judged and proved within one outage of the metrics: nobody can have had an answer."""
    for plan, stage, since, at in proved:
        if since and any(a <= datetime.fromisoformat(since) and datetime.fromisoformat(at) <= b for a, b in outages):
            yield f"{plan}: {stage} was judged since {since} and proved at {at}, while nothing could be asked"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.faults")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn by lot")
    parser.add_argument("--logs", type=Path, help="a new folder for the logs of all parts, which stays")
    chosen = parser.parse_args()
    signal.alarm(int(60 * chosen.minutes + FINISH_WITHIN + MARGIN))
    with Bed.up(chosen.logs, progress=print) as bed:
        install(bed)
        rows = soak(bed, chosen.minutes, chosen.plans, chosen.seed)
    print(f"\n{chosen.plans} plans, {chosen.minutes:g} minutes, {cpu_count()} cores, all parts on this machine\n")
    print(text(rows))
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
