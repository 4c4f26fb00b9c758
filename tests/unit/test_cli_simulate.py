"""`rolloutplan simulate`: the timeline of the plans in files, as a table with a picture and as JSON, and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.cli.main import main
from tests.unit.test_cli_lint import ELSEWHERE, EXAMPLES, NAMES, PLAN, POLICY, SOURCE, TEMPLATE, written

LIBRARY = EXAMPLES.parent / "deploy" / "predicates"
BAKED = PLAN.replace("[5%, 100%]", "[5%, 100%]\n      deadline: 10m") + "  bake: 10m\n"
SHARES = BAKED.replace(
    'sum(rate(errors_total{deployment="$deployment"}[$window]))',
    'sum(rate(a_total{code="5",d="$deployment"}[$window])) / sum(rate(a_total{d="$deployment"}[$window]))',
).replace("> 1", "> 1%")
UNGUARDED = BAKED[: BAKED.index("  guards:")] + BAKED[BAKED.index("  stages:") :]


def shown(capsys: pytest.CaptureFixture[str], files: list[str], *options: str) -> tuple[int, str, str]:
    code = main(["simulate", *options, *files])
    said = capsys.readouterr()
    return code, said.out, said.err


def told(capsys: pytest.CaptureFixture[str], files: list[str], *options: str) -> Any:
    code, out, err = shown(capsys, files, "-o", "json", *options)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_stages_without_weights_have_what_they_judge_in_the_place_of_a_weight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many requests testers send is not known, so counts at their stage cannot be forecast."""
    stages = "  stages:\n    - {name: dark, mirror: 10%}\n    - {name: staff, match: {cookie: {name: a, value: b}}}\n"
    _, out, _ = shown(capsys, written(tmp_path, BAKED.replace("  stages:\n", stages), SOURCE), "--traffic", "100/s")
    rows = {line.split()[0]: line for line in out.splitlines()[2:8]}
    assert "mirror 10%" in rows["dark"]
    assert "cookie a=b" in rows["staff"]


def test_a_table_with_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, written(tmp_path, SHARES, SOURCE))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "RolloutPlan shop/checkout-v2: checkout-v1 -> checkout-v2, 20m - 44m from its start",
        "",
        "stage  weight  begins     ends       ended by  fault at start  fault later   queries/min",
        "ready          0s         0s - 10m   pods",
        "w5     5%      0s - 12m   5m - 22m   soak      1m6s errors     1m16s errors  12",
        "w100   100%    5m - 24m   10m - 34m  soak      1m6s errors     1m16s errors  6",
        "bake   100%    10m - 34m  20m - 44m  bake      1m6s errors     1m16s errors  6",
        "",
        "      0s                                                       44m",
        "w5    ███████·······················",
        "w100         ███████································",
        "bake                █████████████·································",
        "",
        "fault (--fault): 10% of the requests of the new side fail, or are slow; 0.1% is usual (--bad)",
        (
            "fault at start, fault later: the longest time from the fault until the old weights are back, and the"
            " predicate that is first to find it, if it measures such faults"
        ),
        "-o json has the time of each predicate; crashed or unready pods are found within a second",
        "onIncident: a value that is as bad on both sides holds the run, and rolls back after 5m",
        (
            "ended by: what takes longest where all goes well; at the latest the deadline ends a stage, and onUndecided"
            " is Hold"
        ),
    ]


def test_the_same_for_machines_in_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = written(tmp_path, SHARES, SOURCE)
    (plan,) = told(capsys, files)
    assert plan["stages"][0] == {
        "name": "w5",
        "weight": "5%",
        "approval": False,
        "perhaps": False,
        "begins": {"earliest": 0.0, "latest": 720.0},
        "ends": {"earliest": 300.0, "latest": 1320.0},
        "undecided": [],
        "endedBy": {"what": "soak", "predicate": None},
        "fastest": {"atOnce": "errors", "later": "errors"},
        "outpaced": False,
        "faults": [
            {
                "predicate": "errors",
                "role": "guard",
                "known": True,
                "certain": True,
                "never": False,
                "atOnce": 66.0,
                "later": 76.0,
            }
        ],
        "queriesPerMinute": 12.0,
    }
    assert {name: plan[name] for name in plan if name not in ("stages", "bake")} == {
        "completion": None,
        "contract": None,
        "file": files[0],
        "object": "RolloutPlan shop/checkout-v2",
        "fault": "10%",
        "usualBad": 0.001,
        "traffic": None,
        "warnings": [],
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
        ["ready", "0s", "0s", "-", "10m", "pods"],
        ["w5", "5%", "0s", "-", "12m", "5m", "-", "22m", *["soak", "1m6s~", "errors", "1m16s~", "errors"], "18"],
        ["w100", "half", "way", "52.5%", "5m", "-", "24m", "5m", "-", "34m",
         *["soak", "1m6s~", "errors", "1m16s~", "errors"], "18"],
        ["w100", "100%", "5m", "-", "36m", "10m", "-", "46m", *["soak", "1m6s~", "errors", "1m16s~", "errors"], "12"],
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
    assert row.split() == ["contract", "100%", "20m", "-", "44m+", "20m", "-", "49m+", "tasks"]
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


COMPARED = (
    BAKED[: BAKED.index("  guards:")]
    + """\
  guards:
    - name: worse
      events: {bad: 'b_total{d="$deployment"}', total: 'a_total{d="$deployment"}'}
      vsOld: "> 1.5x"
"""
    + BAKED[BAKED.index("  stages:") :]
)


def test_counts_are_forecast_where_the_traffic_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = written(tmp_path, COMPARED, SOURCE)
    unknown = told(capsys, files)[0]["stages"][0]["faults"][0]
    assert (unknown["known"], unknown["later"]) == (False, None)
    options = ("--traffic=500/s", "--bad=0.2%", "--fault=3x")
    (known,) = told(capsys, files, *options)
    first = known["stages"][0]["faults"][0]
    assert (first["known"], first["never"], 60 < first["atOnce"] < first["later"] < 3600) == (True, False, True)
    assert (known["bake"]["faults"][0]["never"], known["bake"]["fastest"]) == (True, {"atOnce": None, "later": None})
    assert "?: the time depends on the traffic, for counts and for minSamples: give" in shown(capsys, files)[1]
    _, out, _ = shown(capsys, files, *options)
    assert next(line for line in out.splitlines() if line.startswith("bake  ")).split()[-3:] == ["never", "never", "8"]
    assert "warning: nothing can act at 100% and in the bake of 10m: worse compares with the old side" in out
    assert known["warnings"][0].startswith("nothing can act at 100% and in the bake of 10m")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "fault (--fault): 10% of the requests of the new side fail, or are slow; 0.1% is usual (--bad)"),
        (["--fault=all"], "fault (--fault): all requests of the new side fail, or are slow; 0.1% is usual"),
        (
            ["--fault=0.5%", "--bad=0.25%"],
            "fault (--fault): 0.5% of the requests of the new side fail, or are slow; 0.25% is",
        ),
        (
            ["--fault=2x"],
            "fault (--fault): 2x: 0.2% of the new side's requests go wrong instead of 0.1% (--bad), or all take 2x as",
        ),
    ],
)
def test_how_large_a_fault_is_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert words in shown(capsys, written(tmp_path, SHARES, SOURCE), *options)[1]


def test_a_fault_within_every_bound_is_never_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, written(tmp_path, SHARES, SOURCE), "--fault=0.5%")
    assert [line.split()[-3:-1] for line in out.splitlines()[4:7]] == [["never", "never"]] * 3
    assert "never: no predicate finds it" in out


@pytest.mark.parametrize(
    "size", ["1x", "0%", "101%", "-5%", "2", "0.1", "twice", "", "all requests", "x", "1e9x", "nanx"]
)
def test_what_is_not_the_size_of_a_fault_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        shown(capsys, written(tmp_path, SHARES), f"--fault={size}")
    assert ended.value.code == 2
    assert "is not the size of a fault: write 10%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "others", "words"),
    [
        ("default", [], "metrics.source: default is not in these files, so its scrape interval is taken for 15s"),
        ("defalt", [SOURCE], "metrics.source: defalt is not in these files (did you mean default?)"),
        ("default", [SOURCE], ""),
        ("prom", [SOURCE], "metrics.source: prom is not in these files, so"),
    ],
)
def test_a_metric_source_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, others: list[str], words: str
) -> None:
    plan = SHARES.replace("  guards:", f"  metrics: {{source: {name}}}\n  guards:")
    code, out, _ = shown(capsys, written(tmp_path, plan, *others))
    assert (code, "metrics.source" in out) == (0, bool(words))
    assert words in out
    assert told(capsys, written(tmp_path, plan, *others))[0]["warnings"] == [
        line for line in out.splitlines() if "metrics.source" in line
    ]


def test_a_stage_that_is_over_before_its_guard_can_speak_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = shown(capsys, written(tmp_path, COMPARED, SOURCE), "--traffic=12/s", "--fault=3x")
    row = next(line for line in out.splitlines() if line.startswith("w5 "))
    assert " worse *  " in row
    assert "*: w5 can end before that, and the run goes on" in out


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


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (
            (0, 100),
            (
                "checkout-v2 has all of the traffic in HTTPRoute checkout: if this release has not run yet, old and new"
                " are swapped, and the plan judges nothing"
            ),
        ),
        ((100, 0), ""),
    ],
)
def test_sides_that_are_swapped_in_the_route(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: tuple[int, int], words: str
) -> None:
    backends = ", ".join(f"{{name: checkout-v{i + 1}, port: 80, weight: {each}}}" for i, each in enumerate(weights))
    route = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: checkout, namespace: shop}\n"
        f"spec: {{rules: [{{backendRefs: [{backends}]}}]}}\n"
    )
    _, out, err = shown(capsys, written(tmp_path, SHARES, SOURCE, route))
    assert ([line for line in out.splitlines() if "swapped" in line], err) == ([words] if words else [], "")
