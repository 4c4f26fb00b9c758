"""Rehearsals: a plan ends as it would in a cluster in which the same goes wrong, and the same seed tells the same."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.policy import read_policy
from rolloutplan.api.resolve import Resolved, Template, resolve
from rolloutplan.api.spec import PlanSpec, SpecError, read_plan_spec
from rolloutplan.api.status import Phase
from rolloutplan.api.template import read_template
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.tools.rehearsal.faults import read_incident
from rolloutplan.tools.rehearsal.host import MOST_INSTANTS, rehearse
from rolloutplan.tools.rehearsal.model import RehearsalError, RehearsalInput, Rehearsed
from tests.generated import KINDS, made
from tests.refusals import DARK, STAFF, changed
from tests.repetition import times
from tests.world import PLAN, SOURCE

RATE = 1000.0
ROOT = Path(__file__).parents[2]
TEXTS = {path: text for path in sorted((ROOT / "examples").rglob("*.yaml")) if "{{" not in (text := path.read_text())}
FILES = [path for path, text in TEXTS.items() if "kind: RolloutPlan\n" in text]
BAD, ALL = 'bad{deployment="$deployment"}', 'all{deployment="$deployment"}'
EVENTS = {"bad": BAD, "total": ALL}
WORSE = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
SHARE = {"name": "share", "query": f"sum(rate({BAD}[$window])) / sum(rate({ALL}[$window]))", "is": "> 1%"}
SLOW = {
    "name": "slow",
    "query": 'histogram_quantile(0.99, sum(rate(request_seconds_bucket{pod="$deployment"}[$window])) by (le))',
    "is": "> 0.5",
}
HITS = {"name": "hits", "query": 'cache_hits{pod="$deployment"} / cache_reads{pod="$deployment"}', "is": "< 0.9"}
PAGED = {"name": "paged", "alert": {"matchers": 'severity="page"'}}
SMALL = changed(
    PLAN, {"guards": [WORSE, SHARE, SLOW, HITS, PAGED], "stages[0].pass": [], "stages[0].fail": [], "bake": "2m"}
)
QUICK = {
    "interval": "30s",
    **{f"stages[{number}].{key}": value for number in range(3) for key, value in (("soak", "1m"), ("deadline", "3m"))},
}


def went(
    *faults: str, changes: Mapping[str, Any] | None = None, spec: PlanSpec | None = None, **more: Any
) -> Rehearsed:
    spec = spec or resolve(read_plan_spec(changed(SMALL, {**(changes or {})})), lambda _: Template("", "", None)).spec
    given = RehearsalInput("shop", "plan", spec, SOURCE, RATE, 0.001, faults=[read_incident(each) for each in faults])
    return rehearse(replace(given, **more))


def reasons(rehearsed: Rehearsed) -> list[str]:
    return [moment.decision.reason for moment in rehearsed.moments]


# ---- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "end", "because"),
    [
        ([], Phase.SUCCEEDED, "serves 100%"),
        (["errors=5%"], Phase.ROLLED_BACK, "guard"),
        (["errors=5% at 50% after 30s"], Phase.ROLLED_BACK, "guard"),
        (["errors=5% on old"], Phase.SUCCEEDED, "serves 100%"),
        (["latency=2x at 50%"], Phase.ROLLED_BACK, "guard slow tripped"),
        (["latency=10%"], Phase.ROLLED_BACK, "guard slow tripped"),
        (["prometheus down 3m"], Phase.SUCCEEDED, "serves 100%"),
        (["prometheus down"], Phase.HELD, "rehearsal has taken it down"),
        (["prometheus slow for 2m"], Phase.SUCCEEDED, "serves 100%"),
        (["pods crash 2 at 50%"], Phase.ROLLED_BACK, "restarted"),
        (["pods unready 100%"], Phase.ROLLED_BACK, "none of 4 pods"),
        (["pods unready 25%"], Phase.HELD, "100% of the traffic needs 4 available pods of v2, only 3 are available"),
        (["gateway refuses at 50%"], Phase.ROLLED_BACK, "50% was not accepted within 30s"),
        (["traffic drops to 0%"], Phase.HELD, "no requests"),
        (["answer hits=0.5 at 50%"], Phase.ROLLED_BACK, "guard hits tripped"),
        (["answer paged=1 at 50% after 30s"], Phase.ROLLED_BACK, "guard paged tripped"),
        (["answer paged=1 at 0%"], Phase.HELD, "guard paged: 1 alert fires already"),
        (["command abort at 50% after 1m"], Phase.ROLLED_BACK, "abort by rehearsal"),
        (["command pause", "command resume after 5m"], Phase.SUCCEEDED, "serves 100%"),
        (["command pause"], Phase.HELD, "pause by rehearsal"),
        (["errors=5% at 50%", "prometheus down at 50%"], Phase.HELD, "rehearsal has taken it down"),
    ],
    ids=lambda value: " and ".join(value) or "healthy" if isinstance(value, list) else "",
)
def test_a_plan_ends_as_its_rules_say(faults: list[str], end: Phase, because: str) -> None:
    rehearsed = went(*faults, changes=QUICK)
    assert (rehearsed.status.phase, because in rehearsed.status.message) == (end, True), rehearsed.status.message


def test_what_goes_wrong_is_counted_until_the_weights_are_back() -> None:
    rehearsed = went("errors=5% at 50% after 30s")
    assert rehearsed.restored_after is not None
    assert timedelta(0) < rehearsed.restored_after <= timedelta(minutes=1)
    seconds = rehearsed.restored_after.total_seconds()
    assert 0.5 < rehearsed.harmed / (RATE * 0.5 * 0.05 * seconds) < 2, "5% of half of the requests"
    assert rehearsed.exposed < rehearsed.requests
    assert not went().harmed


def test_a_fault_is_found_at_the_weight_at_which_it_begins() -> None:
    rehearsed = went("errors=10% at 50%")
    back = next(moment for moment in rehearsed.moments if moment.decision.reason == "RollbackStarted")
    assert (back.decision.weight_from, back.decision.weight_to) == ("50%", "0%")
    assert max(moment.share for moment in rehearsed.moments) == 500


def test_copies_and_testers_reach_the_new_side_before_it_has_a_weight() -> None:
    stages = [{**DARK, "soak": "2m"}, {**STAFF, "soak": "2m"}, *SMALL["stages"]]
    rehearsed = went("errors=50% at 0%", changes={"stages": stages})
    assert rehearsed.status.phase is Phase.ROLLED_BACK
    assert {moment.share for moment in rehearsed.moments} == {0}
    assert rehearsed.exposed > 0


def test_a_person_approves_what_waits_for_it() -> None:
    approved = {**QUICK, "stages[1].approval": "Required"}
    rehearsed = went(changes=approved)
    assert "AwaitingApproval" in [moment.decision.state for moment in rehearsed.moments]
    assert rehearsed.status.phase is Phase.SUCCEEDED
    waits = went(changes=approved, approved_after=None)
    assert (waits.status.phase, waits.status.reason) == (Phase.HELD, "AwaitingApproval")
    assert waits.gave_up == "nothing more happens"


def test_pods_that_both_sides_share_fail_both() -> None:
    """With a feature flag both sides may be one Deployment."""
    (plan,) = _plans(ROOT / "examples" / "routers" / "feature-flag.yaml")
    one = plan.spec.model_copy(update={"old": plan.spec.new.model_copy(update={"variant": plan.spec.old.variant})})
    assert one.is_one_deployment
    assert went("pods unready 100%", spec=PlanSpec.model_construct(**dict(one))).status.phase is not Phase.SUCCEEDED


def test_policies_among_the_files_apply() -> None:
    frozen = PolicyView("always", read_policy({"freeze": {"now": "incident 4711"}}))
    waits = went(policies=[frozen])
    assert (waits.status.phase, "incident 4711" in waits.status.message) == (Phase.PENDING, True)


# ---- what is answered ------------------------------------------------------------------------------------------------


def test_what_a_query_does_not_say_is_taken_as_healthy_and_said_so() -> None:
    answers = went("command abort").answers
    assert answers["worse"] == "the counters of the simulated requests"
    assert answers["share"] == "the share of bad ones among the simulated requests"
    assert answers["slow"].startswith("0.3 as usual, which is assumed (--answer slow=VALUE says another)")
    assert answers["hits"].startswith("taken as healthy (1.8), because its query does not say what it measures")
    assert answers["paged"].startswith("no alert fires")
    assert went("command abort", answers={"hits": 0.95}).answers["hits"] == "0.95, as given"
    assert went(changes=QUICK, answers={"hits": 0.5}).status.reason == "Incident", "an answer is that of both sides"


@pytest.mark.parametrize("given", [{"answers": {"hit": 1.0}}, {"faults": [read_incident("answer hit=1")]}])
def test_an_answer_to_no_predicate_is_refused_with_the_nearest(given: dict[str, Any]) -> None:
    with pytest.raises(RehearsalError, match="the plan has no predicate hit: did you mean hits"):
        went(**given)


# ---- examples, seeds, and whatever there is --------------------------------------------------------------------------


@cache
def _templates() -> dict[str, Template]:
    """The templates of all files, by their names; of two with one name the first."""
    texts = [*(path.read_text() for path in (ROOT / "deploy" / "predicates").glob("*.yaml")), *TEXTS.values()]
    raws = [raw for text in texts if "PredicateTemplate" in text for raw in yaml.safe_load_all(text) if raw]
    found = [(raw["kind"], raw["metadata"]["name"], raw) for raw in raws if raw["kind"].endswith("PredicateTemplate")]
    return {name: Template(kind, name, read_template(raw["spec"])) for kind, name, raw in reversed(found)}


def _template(name: str) -> Template:
    return _templates().get(name) or Template("", name, None, "missing")


def _plans(path: Path) -> list[Resolved]:
    """The plans of a file, with shorter bakes and fewer evaluations, where they are not those of a demonstration."""
    found = [raw for raw in yaml.safe_load_all(path.read_text()) if raw and raw["kind"] == "RolloutPlan"]
    shorter = {} if path.parent.name == "demo" else {"bake": "2m", "interval": "30s"}
    short = [{**raw["spec"], **shorter} for raw in found]
    return [resolve(read_plan_spec(spec), _template) for spec in short]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "examples")))
def test_every_example_succeeds_if_nothing_is_wrong_and_goes_back_if_much_is(path: Path) -> None:
    source = replace(SOURCE, scrape=timedelta(seconds=1)) if path.parent.name == "demo" else SOURCE
    for plan in _plans(path):
        assert not plan.problems
        healthy = went(spec=plan.spec, source=source)
        assert healthy.status.phase is Phase.SUCCEEDED, healthy.status.message
        failing = {name for name, words in healthy.answers.items() if "simulated requests" in words}
        faults = ["errors=all at 1%", "latency=all at 1%"] if failing else ["pods crash 4 at 1%"]
        assert went(*faults, spec=plan.spec, source=source).status.phase is Phase.ROLLED_BACK


def test_a_seed_tells_the_same_story_and_another_one_another() -> None:
    faults = ("errors=2% at 50% after 30s", "prometheus down 1m at 5%")
    assert went(*faults, seed=7) == went(*faults, seed=7)
    assert went(*faults, seed=7).requests != went(*faults, seed=8).requests


def test_the_tests_on_counts_keep_their_level() -> None:
    """A guard of 95% confidence may roll back at most 5% of the releases with nothing wrong."""
    changes = {"guards": [WORSE], "bake": "0s"}
    ends = [went(changes=changes, seed=seed, bad=0.02).status.phase for seed in range(12)]
    assert ends.count(Phase.ROLLED_BACK) <= 2


@pytest.mark.parametrize("faults", [(), ("errors=20% at 1%", "pods crash"), ("prometheus down", "gateway refuses")])
@pytest.mark.parametrize("number", range(times(8)))
def test_any_plan_is_rehearsed_to_an_end(number: int, faults: tuple[str, ...]) -> None:
    try:
        plan = resolve(read_plan_spec(made(KINDS[0], number).spec), _template)
    except SpecError:
        return
    lasts = plan.spec.bake_for + sum((stage.soak for stage in plan.spec.steps()), timedelta(0))
    if not plan.problems and lasts < timedelta(hours=1):
        assert went(*faults, spec=plan.spec).moments


def test_an_hour_is_rehearsed_within_the_bound_of_instants() -> None:
    rehearsed = went(changes={"bake": "50m"})
    assert rehearsed.ended - rehearsed.started > timedelta(minutes=55)
    assert MOST_INSTANTS < 100_000
