"""What a person looks at, at each width, whatever stands in the objects."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from rolloutplan.api.record import read_record
from rolloutplan.api.status import Phase, read_status
from rolloutplan.cli.session import Plan
from rolloutplan.cli.views import decisions, history, plans, records, status, tail, triage, why
from rolloutplan.cli.views.evidence import KEPT, sparkline, with_evidence
from rolloutplan.cli.views.words import Need, need_of, next_commands, undo_commands
from rolloutplan.cluster.client import Raw
from tests.looked_at import HOSTILE, WIDTHS, shown
from tests.refusals import PLAN

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
UNDO = "kubectl patch httproute.gateway.networking.k8s.io checkout -n shop ..."


def instant(minutes_ago: float) -> str:
    return (NOW - timedelta(minutes=minutes_ago)).isoformat()


def decision(seq: int, reason: str, **fields: Any) -> Raw:
    made = {"seq": seq, "at": instant(20 - seq), "kind": "Advance", "reason": reason, "note": f"note {seq}", "run": 1}
    return {**made, **fields}


TRIPPED = decision(
    7,
    "RollbackStarted",
    kind="Rollback",
    note="guard errors tripped: 6.28% > 5%",
    stage="canary",
    weightFrom="5%",
    weightTo="0%",
    believed="not (errors > 5%)",
    observed="errors 6.28% (> 5%): Tripped",
    why="a guard that trips ends the run",
    by="alice",
)


def plan(name: str = "checkout-v2", phase: str = "Judging", owner: str = "", **status: Any) -> Raw:
    return {
        "apiVersion": "rolloutplan.dev/v1alpha1",
        "kind": "RolloutPlan",
        "metadata": {"namespace": "shop", "name": name, "uid": "u-1", "creationTimestamp": instant(90)},
        "spec": {"owner": owner},
        "status": {"phase": phase, "run": 1, **status},
    }


APPROVAL = plan(
    "cart-v7",
    "Held",
    "team-cart",
    reason="AwaitingApproval",
    waitingFor="`approve` by a person (--seal 0a1b2c)",
    weights={"desired": "25%"},
    stage={"name": "ramp", "index": 1, "display": "2/5 ramp"},
    verdict="Clear",
)
FROZEN = plan("mail-v3", "Held", reason="Frozen", waitingFor="the end of the freeze, no time limit")
BACK = plan("checkout-v2", "RolledBack", message="guard errors tripped", revert=UNDO, decisions=[TRIPPED])
INVALID = plan("pay-v2", "Invalid", waitingFor="a fix of what the message says (InvalidSpec), no time limit")
WORKING = plan("search-v4", "Judging", waitingFor="the end of the soak")
DONE = plan("blog-v9", "Succeeded")
NEW = plan("news-v1", "Pending")


def words(view: RenderableType, width: int = 120) -> str:
    """The text of a view without its line ends."""
    return " ".join(" ".join(shown(view, width)).split())


def is_harmless(text: str) -> bool:
    return all(each.isprintable() or each == "\n" for each in text)


# ---- who needs a person ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "need"),
    [
        (APPROVAL, Need.DECISION),
        (FROZEN, Need.HOLD),
        (BACK, Need.NEXT),
        (INVALID, Need.FIX),
        (plan(phase="Pending", conditions=[{"type": "Stalled", "status": "True"}]), Need.FIX),
        (WORKING, Need.NOTHING),
        (DONE, Need.DONE),
        (NEW, Need.LATER),
        ({}, Need.LATER),
        (plan(phase="Dreaming"), Need.NOTHING),
    ],
)
def test_who_has_to_do_something(raw: Raw, need: Need) -> None:
    assert need_of(raw) == need


def test_the_next_commands_are_those_that_the_operator_names() -> None:
    assert next_commands(APPROVAL) == ['rolloutplan approve -n shop cart-v7 --seal 0a1b2c --reason "..."']
    undecided = plan(phase="Held", waitingFor="a decision of the predicates, or `resume`, `skip` or `rm -rf /`")
    assert [each.split()[1] for each in next_commands(undecided)] == ["resume", "skip"]
    assert next_commands(BACK) == ['rolloutplan retry -n shop checkout-v2 --reason "..."']
    assert [next_commands(each) for each in (WORKING, DONE, FROZEN)] == [[], [], []]


@pytest.mark.parametrize(
    ("phase", "revert", "verbs"),
    [
        ("Probing", "", {"undo": "abort"}),
        ("Judging", UNDO, {"undo": "abort", "by hand": "undo"}),
        ("RollingBack", UNDO, {"by hand": "undo"}),
        ("RolledBack", UNDO, {}),
        ("Succeeded", UNDO, {"undo": "revert", "by hand": "undo"}),
        ("Succeeded", "", {}),
        ("Pending", "", {}),
    ],
)
def test_what_undoes_a_run(phase: str, revert: str, verbs: dict[str, str]) -> None:
    found = undo_commands(plan(phase=phase, revert=revert))
    assert {title: each.split()[1] for title, each in found.items()} == verbs


def test_what_undoes_a_run_whose_owned_route_is_handed_back_is_told_and_no_command_that_would_be_refused() -> None:
    words = "HTTPRoute shop in Git has the traffic again: commit the weights of v1 there to go back"
    condition = {
        "type": "RoutesOwned",
        "status": "False",
        "reason": "HandedBack",
        "message": words,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    raw = plan(phase="Succeeded", revert=UNDO, conditions=[condition])
    assert undo_commands(raw) == {}
    views = (
        status.rendered(Plan(raw), {}, NOW, 120),
        why.rendered(Plan(raw), NOW),
        triage.rendered(Plan(raw), NOW, 120),
    )
    for view in views:
        text = " ".join(" ".join(shown(view, 120)).split())
        assert words in text
        assert "rolloutplan revert" not in text
        assert "rolloutplan undo" not in text


# ---- list ------------------------------------------------------------------------------------------------------------

ALL = [APPROVAL, INVALID, BACK, FROZEN, WORKING, NEW, DONE]


def test_those_that_need_a_person_come_first() -> None:
    found = sorted([*ALL[3:], *ALL[:3]], key=plans._place)
    assert [raw["metadata"]["name"] for raw in found] == [raw["metadata"]["name"] for raw in ALL]


def test_the_list_at_each_width() -> None:
    assert shown(plans.rendered([APPROVAL, DONE], NOW, 120), 120) == [
        "PLAN     PHASE      STAGE     WEIGHT  VERDICT  OWNER      AGE  WAITS FOR",
        "cart-v7  Held       2/5 ramp  25%     Clear    team-cart  90m  `approve` by a person (--seal 0a1b2c)",
        "blog-v9  Succeeded                                        90m",
    ]
    assert shown(plans.rendered([APPROVAL, DONE], NOW, 80), 80)[1] == (
        "cart-v7  Held       2/5 ramp  25%     Clear    team-cart  90m  `approve` by a p…"
    )
    assert shown(plans.rendered([APPROVAL, DONE], NOW, 40), 40) == [
        "PLAN     PHASE      WEIGHT  WAITS FOR",
        "cart-v7  Held       25%     `approve` b…",
        "blog-v9  Succeeded",
    ]


def test_one_long_name_hides_nothing_of_the_other_plans() -> None:
    said = shown(plans.rendered([plan("x" * 253), APPROVAL], NOW, 80), 80)
    assert said[1].startswith(f"{'x' * 31}…  Judging")
    assert said[2].split()[:2] == ["cart-v7", "Held"]
    assert said[2].split("  ")[-1].strip().startswith("`approve`")


def test_nothing_is_cut_where_nobody_looks() -> None:
    long = plan(waitingFor="w" * 250)
    assert "w" * 250 in plans.rendered([long], NOW, None).plain


def test_of_all_namespaces_each_plan_has_its_own() -> None:
    assert "shop/cart-v7" in plans.rendered([APPROVAL], NOW, 80, everywhere=True).plain


# ---- why and history -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_the_last_decision_in_sentences(width: int) -> None:
    said = words(why.rendered(Plan(BACK), NOW), width)
    for part in (
        "shop/checkout-v2 RolledBack",
        "decided RollbackStarted: guard errors tripped: 6.28% > 5%",
        "13m ago, 2026-03-01 09:17:00Z, by alice",
        "from 5% to 0%",
        "expected not (errors > 5%)",
        "observed errors 6.28% (> 5%): Tripped",
        "because a guard that trips ends the run",
        'go on rolloutplan retry -n shop checkout-v2 --reason "..."',
    ):
        assert part in said


def test_no_line_ends_with_blanks() -> None:
    """In a file or a pipe, 200 columns wide, they would be most of it."""
    out = StringIO()
    views = (why.rendered(Plan(BACK), NOW), triage.rendered(Plan(BACK), NOW, 200))
    for view in views:
        Console(file=out, width=200, highlight=False, markup=False, emoji=False).print(view, crop=False)
    assert [line for line in out.getvalue().splitlines() if line != line.rstrip()] == []


def test_a_run_under_way_can_be_ended_and_a_plan_without_decisions_is_no_fault() -> None:
    said = words(why.rendered(Plan(WORKING), NOW))
    assert "decided nothing yet" in said
    assert 'undo rolloutplan abort -n shop search-v4 --reason "..."' in said


DAMAGED = plan(decisions=[{**TRIPPED, "kind": "Teleport"}], seq=7, planHash=[])
LOST = "cannot be read: decisions, planHash (another version?)"


def test_a_status_of_another_version_is_not_shown_as_calm() -> None:
    said = words(why.rendered(Plan(DAMAGED), NOW))
    assert LOST in said
    assert "nothing yet" not in said
    assert LOST in words(tree(DAMAGED, 120), 120)


def test_the_history_says_how_many_decisions_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def read(*_: object) -> tuple[list[Raw], str]:
        return [decision(6, "StageStarted"), {**TRIPPED, "kind": "Teleport"}], ""

    monkeypatch.setattr(history, "_read", read)
    assert history.history("checkout-v2") == 0
    said = capsys.readouterr()
    assert "StageStarted" in said.out
    assert "1 of 2 decisions cannot be read (another version?)" in said.err


RECORD: Raw = {
    "metadata": {"namespace": "shop"},
    "spec": {
        "plan": "checkout-v2",
        "planUid": "u-1",
        "run": 1,
        "owner": "team-checkout",
        "startedAt": instant(19),
        "old": {"deployment": "checkout-v1", "images": ["checkout:1"]},
        "new": {"deployment": "checkout-v2", "images": ["checkout:2"]},
    },
    "status": {
        "outcome": "RolledBack",
        "reason": "GuardTripped",
        "message": "guard errors tripped: 6.28% > 5%",
        "endedAt": instant(12),
        "folded": 2,
        "people": ["alice"],
        "decisions": [decision(6, "StageStarted", stage="canary"), {**TRIPPED, "note": "shortened"}],
        "stages": [
            {
                "name": "canary",
                "weight": "5%",
                "result": "RolledBack",
                "enteredAt": instant(18),
                "endedAt": instant(13),
                "evidence": [
                    {"predicate": "errors", "role": "guard", "value": "6.28%", "bound": "> 5%", "verdict": "Tripped"}
                ],
            }
        ],
        "dora": {"failed": True, "restoreSeconds": 41.2, "exposedRequests": 1234},
    },
}


def test_each_decision_stands_once_in_the_history_also_of_a_plan_that_is_gone() -> None:
    other = {**RECORD, "spec": {**RECORD["spec"], "planUid": "u-0"}}
    found = history.merged([RECORD], plan(decisions=[TRIPPED, decision(8, "RolledBack")]))
    assert [(each["seq"], each["note"]) for each in found] == [(6, "note 6"), (7, TRIPPED["note"]), (8, "note 8")]
    assert [each["seq"] for each in history.merged([other, RECORD], {})] == [6, 6, 7, 7], "of two plans with one name"


@pytest.mark.parametrize("width", WIDTHS)
def test_decisions_in_their_order(width: int) -> None:
    trail = history.merged([RECORD], plan(decisions=[TRIPPED]))
    said = words(decisions.rendered([*history.readable(trail)], width), width)
    assert said.index("StageStarted") < said.index("RollbackStarted")
    for part in ("2026-03-01 09:17:00Z", "5% -> 0%", "alice", "guard errors tripped: 6.28% > 5%"):
        assert part in said


# ---- status ----------------------------------------------------------------------------------------------------------

RUNNING = plan(
    reason="Soaking",
    message="ramp-w10 is soaking",
    waitingFor="the end of the soak, and all predicates to be decided",
    verdict="Undecided",
    weights={"desired": "10%", "measured": "9.8%"},
    stage={
        "name": "ramp-w10",
        "index": 1,
        "weight": "10%",
        "soakUntil": instant(-3),
        "deadlineAt": instant(-30),
    },
    revert=UNDO,
    predicates=[
        {"name": "errors", "role": "guard", "value": "0.2%", "bound": "> 5%", "verdict": "Clear", "samples": "1200"},
        {"name": "p99", "role": "pass", "bound": "<= +5%", "verdict": "Undecided", "why": "the window is not filled"},
    ],
    decisions=[decision(3, "StageProved", stage="canary")],
) | {"spec": PLAN}
TREE = """\
shop/checkout-v2  Judging Soaking
checkout-v1 -> checkout-v2  run 1
v2's read cache serves over 90% of reads, and no request gets slower
now: ramp-w10 is soaking
waits for: the end of the soak, and all predicates to be decided
undo:
  rolloutplan abort -n shop checkout-v2 --reason "..."
by hand:
  rolloutplan undo -n shop checkout-v2
weight: ██░░░░░░░░░░░░░░░░░░ 10% asked, 9.8% measured
├── ✔ canary 5%  Proved
├── ● ramp-w10 10%  Undecided  soak 3m left  deadline 30m left
│   ├── ✔ guard errors  0.2% (> 5%)  Clear  █▁  1200 samples
│   └── ? pass p99  - (<= +5%)  Undecided  the window is not filled
├── ○ ramp-w50 50%
└── ○ w100 100%"""


def tree(raw: Raw, width: int = 80, notice: str = "") -> RenderableType:
    values = {"errors": {NOW - timedelta(minutes=2): 0.4, NOW - timedelta(minutes=1): 0.1}}
    return status.rendered(Plan(raw), values, NOW, width, notice)


def test_a_plan_as_a_tree() -> None:
    assert shown(tree(RUNNING), 80) == TREE.splitlines()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_of_a_plan_is_left_out_on_a_narrow_screen(width: int) -> None:
    unboxed = words(tree(RUNNING, width), width).translate(dict.fromkeys(map(ord, "├─└│█░▁"), " "))
    assert unboxed.split() == TREE.translate(dict.fromkeys(map(ord, "├─└│█░▁"), " ")).split()


def test_a_plan_that_has_ended() -> None:
    back = {**RUNNING, "status": {**RUNNING["status"], "phase": "RolledBack"}}
    assert "✘ ramp-w10 10%" in words(tree(back))
    assert "go on: rolloutplan retry" in words(tree(back))
    assert "rolloutplan abort" not in words(tree(back))
    done = {**RUNNING, "status": {**RUNNING["status"], "phase": "Succeeded"}}
    assert words(tree(done)).count("✔") == 5, "four stages, and a guard"


def test_that_the_connection_is_lost_stands_on_top() -> None:
    assert shown(tree(RUNNING, notice="connection lost, retrying"), 80)[0].endswith("connection lost, retrying")


def test_the_evidence_is_that_of_decisions_of_the_run_and_of_the_present() -> None:
    def evidence(seq: int, run: int, value: str) -> Raw:
        return decision(
            seq, "StageProved", run=run, evidence=[{"predicate": "p", "value": value, "at": instant(20 - seq)}]
        )

    now = {"name": "p", "role": "guard", "value": "1.5x", "at": instant(0)}
    found = read_status(
        {
            "run": 2,
            "decisions": [evidence(1, 1, "9%"), evidence(3, 2, "NaN"), evidence(2, 2, "-3e-1%")],
            "predicates": [now],
        }
    )
    series = with_evidence({}, found)
    assert list(series["p"].values()) == [-0.3, 1.5]
    assert with_evidence(series, found) == series, "what is seen twice counts once"
    many = {NOW - timedelta(seconds=n): 1.0 for n in range(2 * KEPT)}
    assert len(with_evidence({"p": many}, found)["p"]) == KEPT


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1], ""),
        ([1, 1], "▁▁"),
        ([0, 1, 0.5], "▁█▅"),
        ([-2, 5], "▁█"),
        ([9, 9, 0, 1], "█▁▂"),
        ([1, 1e300], "▁█"),
        ([-1e308, 1e308, 0], "▁█▅"),
        ([5e-324, 0], "▁▁"),
    ],
)
def test_a_sparkline_has_the_last_values(values: list[float], line: str) -> None:
    assert sparkline(values, 3) == line


@pytest.mark.parametrize(
    ("share", "full"), [("nan%", 0), ("-5%", 0), ("x%", 0), ("1e999%", 20), ("1.7e308%", 20), ("55%", 11)]
)
def test_a_weight_that_is_no_share_is_no_fault(share: str, full: int) -> None:
    assert words(tree(plan(weights={"desired": share}))).count("█") == full


def test_a_value_that_is_too_large_for_a_number_is_no_evidence() -> None:
    found = read_status({"predicates": [{"name": "p", "role": "guard", "value": "1e999", "at": instant(0)}]})
    assert with_evidence({}, found) == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_command_is_copied_whole_at_every_width(width: int) -> None:
    raw = {**BACK, "metadata": {"namespace": "shop", "name": "v" * 150}}
    typed = f'  rolloutplan retry -n shop {"v" * 150} --reason "..."'
    for view in (why.rendered(Plan(raw), NOW), tree(raw, width), triage.rendered(Plan(raw), NOW, width)):
        assert typed in shown(view, width)
    cut = shown(status.rendered(Plan(raw), {}, NOW, width, live=True), width)
    assert [line for line in cut if line.startswith("  rolloutplan retry") and line.endswith("…")], "the cut is seen"


# ---- record ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_a_record_says_what_went_out_and_how_it_ended(width: int) -> None:
    said = words(records.rendered(read_record(RECORD), width), width)
    for part in (
        "checkout-v2, run 1 RolledBack GuardTripped",
        "message: guard errors tripped: 6.28% > 5%",
        "new: checkout-v2 checkout:2",
        "ended: 2026-03-01 09:18:00Z, after 7m",
        "delivery: failed, restored after 41 s, 1234 requests exposed",
        "decisions: 2 left out",
        "✘ canary 5% RolledBack 5m guard errors 6.28% (> 5%) Tripped",
        "StageStarted",
    ):
        assert part in said


def test_a_record_says_what_is_missing_and_which_stages_are_of_another_run() -> None:
    again = {"name": "canary", "weight": "5%", "runBegan": "2026-03-01T09:20:00Z"}
    lost = {**RECORD, "status": {**RECORD["status"], "missing": 3, "stages": [again]}}
    said = words(records.rendered(read_record(lost), 120))
    assert "3 missing" in said
    assert "canary 5% of another run with this number, which began 2026-03-01 09:20:00Z" in said


def test_records_as_a_list() -> None:
    assert shown(records.listed([RECORD], 120), 120)[1] == (
        "checkout-v2  1    RolledBack  GuardTripped  team-checkout  2026-03-01 09:11:00Z  2026-03-01 09:18:00Z"
    )
    assert shown(records.listed([RECORD], 40), 40)[0].split() == ["PLAN", "RUN", "OUTCOME", "STARTED"]


# ---- tail ------------------------------------------------------------------------------------------------------------


def test_every_decision_is_told_once_in_the_order_of_its_plan() -> None:
    cursor = tail.Cursor()
    trail = [decision(seq, f"R{seq}") for seq in range(1, 9)]

    def told(*decisions: Raw, uid: str = "u-1") -> list[str]:
        raw = plan(decisions=[*decisions])
        raw["metadata"]["uid"] = uid
        return [f"{each.decision['reason']}{f' -{each.missed}' if each.missed else ''}" for each in cursor.news(raw)]

    assert told(trail[1], trail[0]) == ["R1", "R2"]
    assert told(*trail[:3]) == ["R3"]
    assert told(*trail[:3]) == [], "as after a cut connection"
    assert told(*trail[5:]) == ["R6 -2", "R7", "R8"], "what the status lost meanwhile is counted"
    assert told(*trail[:2]) == [], "an older state of the plan"
    assert told(trail[0], uid="u-2") == ["R1"], "another plan with its name"
    assert told(uid="u-3") == []
    assert told(trail[0], uid="u-3") == ["R1"]


def test_the_decisions_before_now_are_those_of_all_plans_by_their_time() -> None:
    cursor = tail.Cursor()
    others = plan("b", decisions=[decision(2, "R2"), decision(4, "R4")])
    others["metadata"]["uid"] = "u-2"
    found = tail.before(cursor, [plan("a", decisions=[decision(1, "R1"), decision(3, "R3")]), others], 3)
    assert [(each.plan, each.decision["reason"]) for each in found] == [("b", "R2"), ("a", "R3"), ("b", "R4")]
    assert list(tail.before(tail.Cursor(), [others], 0)) == []
    assert list(cursor.news(others)) == []


def test_a_decision_in_one_line() -> None:
    said = tail.rendered(tail.Told("shop", "checkout-v2", TRIPPED, 2)).plain
    assert said == (
        "09:17:00 shop/checkout-v2 RollbackStarted 5% -> 0%: guard errors tripped: 6.28% > 5%"
        " (2 before it are not in the status any more)"
    )


# ---- hostile texts ---------------------------------------------------------------------------------------------------

EVIL = plan(
    HOSTILE,
    "Held",
    HOSTILE,
    reason=HOSTILE,
    message=HOSTILE,
    waitingFor=HOSTILE,
    verdict=HOSTILE,
    weights={"desired": HOSTILE},
    stage={"name": HOSTILE, "index": 0, "display": HOSTILE},
    decisions=[{**TRIPPED, **dict.fromkeys(("reason", "note", "stage", "believed", "observed", "why", "by"), HOSTILE)}],
    revert=HOSTILE,
    predicates=[{"role": "guard", **dict.fromkeys(("name", "value", "bound", "verdict", "samples", "why"), HOSTILE)}],
)
EVIL_RECORD = {
    "spec": {**RECORD["spec"], **dict.fromkeys(("plan", "owner", "hypothesis", "runbook"), HOSTILE)},
    "status": {**RECORD["status"], **dict.fromkeys(("reason", "message", "weight"), HOSTILE), "people": [HOSTILE]},
}
NONSENSE = [{}, {"metadata": 7, "spec": [], "status": "x"}, json.loads('{"status": {"decisions": [1], "stage": 3}}')]


@pytest.mark.parametrize("width", WIDTHS)
def test_texts_of_others_are_shown_and_not_obeyed(width: int) -> None:
    views: list[RenderableType] = [
        plans.rendered([EVIL], NOW, width),
        why.rendered(Plan(EVIL), NOW),
        decisions.rendered(Plan(EVIL).status.decisions, width),
        tree(EVIL, width, HOSTILE),
        *map(tail.rendered, tail.Cursor().news(EVIL)),
        records.listed([EVIL_RECORD], width),
        records.rendered(read_record(EVIL_RECORD), width),
    ]
    for view in views:
        said = "\n".join(shown(view, width))
        assert is_harmless(said)
        assert "[red]" in said


@pytest.mark.parametrize("raw", NONSENSE)
def test_what_cannot_be_read_is_left_out(raw: Raw) -> None:
    plans.rendered([raw], NOW, 80)
    shown(why.rendered(Plan(raw), NOW), 40)
    shown(tree(raw, 40), 40)
    records.listed([raw], 40)
    shown(records.rendered(read_record(raw), 40), 40)
    assert list(tail.Cursor().news(raw)) == []
    assert history.merged([raw], raw) == []


def test_every_phase_has_its_place() -> None:
    assert {need_of(plan(phase=phase)) for phase in Phase} <= {*Need}
