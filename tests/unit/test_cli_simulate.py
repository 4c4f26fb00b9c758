"""`rolloutplan simulate`: the timeline of the plans in files, as a table with a picture and as JSON, and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.cli.main import main
from tests.unit.test_cli_lint import ELSEWHERE, EXAMPLES, NAMES, PLAN, POLICY, SOURCE, TEMPLATE, written

LIBRARY = EXAMPLES.parent / "deploy" / "predicates"
BAKED = PLAN.replace("[5%, 100%]", "[5%, 100%]\n      deadline: 10m") + "  bake: 10m\n"
UNGUARDED = BAKED[: BAKED.index("  guards:")] + BAKED[BAKED.index("  stages:") :]


def shown(capsys: pytest.CaptureFixture[str], files: list[str], *options: str) -> tuple[int, str, str]:
    code = main(["simulate", *options, *files])
    said = capsys.readouterr()
    return code, said.out, said.err


def told(capsys: pytest.CaptureFixture[str], files: list[str], *options: str) -> Any:
    code, out, err = shown(capsys, files, "-o", "json", *options)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_table_with_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, written(tmp_path, BAKED))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "RolloutPlan shop/checkout-v2: checkout-v1 -> checkout-v2, 20m - 44m from its start",
        "",
        "stage  weight  begins     ends       fault at start  fault later   queries/min",
        "ready          0s         0s - 10m",
        "w5     5%      0s - 12m   5m - 22m   1m6s errors     1m16s errors  12",
        "w100   100%    5m - 24m   10m - 34m  1m6s errors     1m16s errors  6",
        "bake   100%    10m - 34m  20m - 44m  1m6s errors     1m16s errors  6",
        "",
        "      0s                                                       44m",
        "w5    ███████·······················",
        "w100         ███████································",
        "bake                █████████████·································",
        "",
        "fault: the longest time from a fault to the old weights on the routes, with the slowest predicate",
        "onIncident: a value that is as bad on both sides holds the run, and rolls back after 5m",
    ]


def test_the_same_for_machines_in_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = written(tmp_path, BAKED)
    (plan,) = told(capsys, files)
    assert plan["stages"][0] == {
        "name": "w5",
        "weight": "5%",
        "approval": False,
        "perhaps": False,
        "begins": {"earliest": 0.0, "latest": 720.0},
        "ends": {"earliest": 300.0, "latest": 1320.0},
        "undecided": [],
        "faults": [{"predicate": "errors", "role": "guard", "known": True, "atOnce": 66.0, "later": 76.0}],
        "queriesPerMinute": 12.0,
    }
    assert {name: plan[name] for name in plan if name not in ("stages", "bake")} == {
        "completion": None,
        "contract": None,
        "file": files[0],
        "object": "RolloutPlan shop/checkout-v2",
        "ready": {"earliest": 0.0, "latest": 600.0},
        "ends": {"earliest": 1200.0, "latest": 2640.0},
        "approvals": [],
    }
    assert plan["bake"]["ends"] == plan["ends"]


def test_the_step_half_way_after_a_warning_is_counted_at_the_latest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warns = BAKED.replace("      deadline: 10m", '      deadline: 10m\n      warn: [{name: slow, query: s, is: "> 1"}]')
    files = written(tmp_path, warns)
    code, out, _ = shown(capsys, files)
    assert code == 0
    assert [line.split() for line in out.splitlines()[3:7]] == [
        ["ready", "0s", "0s", "-", "10m"],
        ["w5", "5%", "0s", "-", "12m", "5m", "-", "22m", *["1m6s", "errors", "1m16s", "errors"], "18"],
        ["w100", "half", "way", "52.5%", "5m", "-", "24m", "5m", "-", "34m",
         *["1m6s", "errors", "1m16s", "errors"], "18"],
        ["w100", "100%", "5m", "-", "36m", "10m", "-", "46m", *["1m6s", "errors", "1m16s", "errors"], "12"],
    ]  # fmt: skip
    assert "half way: runs only if the stage before it had a warning; the latest times include it" in out
    (plan,) = told(capsys, files)
    assert [(each["name"], each["perhaps"]) for each in plan["stages"]] == [
        ("w5", False), ("w100 half way", True), ("w100", False),
    ]  # fmt: skip


def test_what_is_taken_away_at_the_end_is_told_without_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = written(tmp_path, BAKED + "  contract: {scaleOld: 0, approval: Required}\n")
    code, out, _ = shown(capsys, files)
    assert code == 0
    assert "checkout-v2, 20m - 49m+ from its start" in out
    row = next(line for line in out.splitlines() if line.startswith("contract "))
    assert row.split() == ["contract", "100%", "20m", "-", "44m+", "20m", "-", "49m+"]
    assert "a person approves contract" in out
    assert "-: no guard" not in out
    (plan,) = told(capsys, files)
    assert (plan["contract"]["ends"], plan["contract"]["faults"]) == (plan["ends"], [])
    assert plan["ends"]["latest"] - plan["bake"]["ends"]["latest"] == 300


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (BAKED.replace("deadline: 10m", "approval: Required"), "+: plus the time until a person approves w5"),
        (
            BAKED.replace("deadline: 10m", "pass: [{name: a, query: x, is: '> 0', window: 40m}]"),
            "!: w5 is not decided by its deadline, for a; onUndecided is Hold",
        ),
        (BAKED, "onIncident: a value that is as bad on both sides holds the run, and rolls back after 5m"),
        (BAKED + "  onFail: Hold\n", "onFail is Hold: a failure of the new side holds the run"),
        (
            UNGUARDED.replace("deadline: 10m", "pass: [{name: a, query: x, is: '> 0'}]"),
            "-: no guard or fail predicate is evaluated",
        ),
    ],
    ids=["an approval", "a window too long", "both sides", "onFail: Hold", "no guards"],
)
def test_what_the_table_marks_is_explained_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, words: str
) -> None:
    code, out, _ = shown(capsys, written(tmp_path, plan))
    assert code == 0
    table, _, notes = out.rpartition("\n\n")
    assert words in notes
    mark = words.partition(":")[0]
    assert len(mark) > 1 or mark in table


def test_counts_are_forecast_where_the_traffic_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(EXAMPLES / "counts.yaml")]
    unknown = told(capsys, files)[0]["stages"][0]["faults"][0]
    assert (unknown["known"], unknown["later"]) == (False, None)
    known = told(capsys, files, "--traffic=500/s", "--bad=0.2%")[0]
    assert known["stages"][0]["faults"][0] == {
        "predicate": "new-errors", "role": "guard", "known": True, "atOnce": 261.0, "later": 261.0,
    }  # fmt: skip
    assert known["bake"]["faults"][0]["later"] is None
    assert "?: the predicate counts events" in shown(capsys, files)[1]
    assert "never new-errors" in shown(capsys, files, "--traffic=500/s")[1]


@pytest.mark.parametrize(
    ("others", "options", "at_once"),
    [([], [], 66), ([], ["--scrape-interval=5s"], 26), ([SOURCE.replace("30s", "10s")], ["--scrape-interval=5s"], 46)],
)
def test_the_source_of_the_plan_is_the_one_among_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], others: list[str], options: list[str], at_once: float
) -> None:
    (plan,) = told(capsys, written(tmp_path, PLAN, *others), *options)
    assert plan["stages"][0]["faults"][0]["atOnce"] == at_once


def test_a_template_among_the_files_is_what_would_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of both sides too: whatever the engine does with a predicate holds for one of a template."""
    (named,), (plain,) = (told(capsys, written(tmp_path, *texts)) for texts in ((NAMES, TEMPLATE), (PLAN,)))
    assert named["stages"][0]["queriesPerMinute"] == 12
    assert named == plain


@pytest.mark.parametrize("others", [(), (ELSEWHERE,)], ids=["nowhere", "of another namespace"])
def test_without_its_template_a_plan_has_no_timeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], others: tuple[str, ...]
) -> None:
    code, out, err = shown(capsys, written(tmp_path, NAMES, *others))
    assert (code, out) == (1, "")
    assert ":11:7: error: RolloutPlan shop/checkout-v2 spec.guards[0]: template errors is not in these files" in err
    assert "add its file" in err


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_plan_of_the_examples_has_a_timeline(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plans = file.read_text().count("kind: RolloutPlan\n")
    library = [str(templates) for templates in sorted(LIBRARY.glob("*.yaml"))]
    assert main(["simulate", "-o", "json", str(file), *library]) == (0 if plans else 1)
    assert len(json.loads(capsys.readouterr().out)) == plans


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (PLAN.replace("soak: 5m", "soak: 5"), 1, ":18:7: error: RolloutPlan shop/checkout-v2 spec.stages[0].soak: "),
        ("a: [\n", 2, ":2:1: error: invalid YAML"),
        (POLICY, 1, "the files have no RolloutPlan"),
    ],
    ids=["a plan that is refused", "no YAML", "no plan"],
)
def test_what_cannot_be_simulated_is_said_as_lint_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, words: str
) -> None:
    ended, out, err = shown(capsys, written(tmp_path, text))
    assert (ended, out) == (code, "")
    assert words in err


def test_the_good_plans_beside_a_bad_one_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, written(tmp_path, f"{BAKED}---\n{PLAN.replace('soak: 5m', 'soak: 5')}"))
    assert (code, out.count("RolloutPlan "), "spec.stages[0].soak" in err) == (1, 1, True)
