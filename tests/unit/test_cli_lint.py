"""`rolloutplan lint`: what it finds in files and at which line, three ways to print that, and its exit codes."""

import contextlib
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.quantities import format_duration
from rolloutplan.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAN = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPlan
metadata: {name: checkout-v2, namespace: shop}
spec:
  old: {deployment: checkout-v1}
  new: {deployment: checkout-v2}
  traffic:
    routes:
      - {kind: HTTPRoute, name: checkout}
  guards:
    - name: errors
      query: |
        sum(rate(errors_total{deployment="$deployment"}[$window]))
      is: "> 1"
      window: 1m
  stages:
    - weights: [5%, 100%]
      soak: 5m
"""
SOURCE = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: ClusterMetricSource
metadata: {name: default}
spec:
  prometheus: {url: "http://prometheus:9090"}
  scrapeInterval: 30s
"""
POLICY = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: all}
spec:
  errorBudget:
    query: slo:budget:ratio{service="$service"}
    atLeast: 20%
"""
SHOP = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout-v2, namespace: shop}
"""
CONFIG = SHOP.replace("apps/v1", "v1").replace("Deployment", "ConfigMap")
CART = PLAN.replace("checkout", "cart")
HIDDEN = PLAN.replace("[$window]))", "[$window])) or vector(0)")


def written(tmp_path: Path, *texts: str | bytes) -> list[str]:
    files = [tmp_path / f"{i}.yaml" for i in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    return [str(file) for file in files]


def lint(tmp_path: Path, capsys: pytest.CaptureFixture[str], *texts: str | bytes, options: str = "") -> tuple[int, Any]:
    """Give the exit code, and what is found as lists of file's number, line, severity, rule and path."""
    code = main(["lint", "--output=json", *options.split(), *written(tmp_path, *texts)])
    rows = json.loads(capsys.readouterr().out)
    return code, [(int(Path(row["file"]).stem), row["line"], row["severity"], row["rule"], row["path"]) for row in rows]


@pytest.mark.parametrize("text", [PLAN, SOURCE, POLICY, f"---\n{PLAN}---\n{POLICY}---\n# nothing\n---\n"])
def test_what_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert lint(tmp_path, capsys, text, options="--strict") == (0, [])


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_are_good(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--strict", str(file)]) == 0
    assert "error" not in capsys.readouterr().out.splitlines()[-1]


def test_nothing_is_found_in_the_templates_that_ship(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((EXAMPLES.parent / "deploy" / "predicates").glob("*.yaml"))
    assert main(["lint", "--strict", *map(str, files)]) == 0
    assert capsys.readouterr().out.endswith(" ClusterPredicateTemplates checked; nothing found\n")


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("demo/*.yaml")), ids=lambda file: file.name)
def test_what_the_demo_applies_is_taken(file: Path) -> None:
    assert main(["lint", str(file)]) == 0


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        # What the operator refuses.
        ("soak: 5m", "soak: 5", (18, "refused", "spec.stages[0].soak")),
        ("soak: 5m", "soaks: 5m", (18, "refused", "spec.stages[0].soaks")),
        ("[5%, 100%]", "[50%, 5%, 100%]", (17, "refused", "spec.stages[0].weights[1]")),
        (": [5%, 100%]", ":\n      - 5%\n      - 99%", (19, "refused", "spec.stages[0].weights[1]")),
        ('is: "> 1"', 'is: "1"', (14, "refused", "spec.guards[0].is")),
        ('      is: "> 1"\n', "", (11, "refused", "spec.guards[0]")),
        ("  old: {deployment: checkout-v1}\n", "", (4, "refused", "spec.old")),
        ("deployment: checkout-v2", "deployment: checkout-v1", (6, "refused", "spec.new.deployment")),
        ("soak: 5m", "<<: {soak: 5}", (18, "refused", "spec.stages[0].soak")),
        # What stands around the spec.
        ("spec:", "specs:", (4, "object", "specs")),
        ("name: checkout-v2", "name: Checkout", (3, "object", "metadata.name")),
        ("name: checkout-v2", f"name: {'x' * 64}", (3, "object", "metadata.name")),
        ("{name: checkout-v2, namespace: shop}", "{namespace: shop}", (3, "object", "metadata.name")),
        ("namespace: shop", "namespace: 5", (3, "object", "metadata.namespace")),
        ("namespace: shop", "namespace: [shop]", (3, "object", "metadata.namespace")),
        ("v1alpha1", "v1", (1, "object", "apiVersion")),
        ("rolloutplan.dev/", "rolloutplans.dev/", (1, "object", "apiVersion")),
        ("kind: RolloutPlan", "kind: RoloutPlan", (2, "object", "kind")),
        ("kind: RolloutPlan\n", "", (1, "object", "")),
        ("      window: 1m\n", "      window: 1m\n      window: 2m\n", (16, "twice", "")),
    ],
)  # fmt: skip
def test_errors_and_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, finding: tuple[int, str, str]
) -> None:
    line, rule, path = finding
    code, found = lint(tmp_path, capsys, PLAN.replace(before, after, 1))
    assert code == 1
    assert (0, line, "error", rule, path) in found
    assert len(found) == (2 if after == "specs:" else 1)


@pytest.mark.parametrize("text", ["[a]", "text", "5", "{a: b}", "kind: 5", "kind: [RolloutPlan]"])
def test_what_is_no_object(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert lint(tmp_path, capsys, f"---\n# line 2\n---\n{text}\n") == (1, [(0, 4, "error", "object", "")])


def test_all_refusals_of_one_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "apiVersion: rolloutplan.dev/v1alpha1\nkind: RolloutPlan\nmetadata: {name: a}\nspec: {a: 1, b: 2}\n"
    assert main(["lint", *written(tmp_path, spec)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("RolloutPlan a ")[2] for line in lines[:-1]] == [
        "spec.old: required field is missing [refused]",
        "spec.new: required field is missing [refused]",
        "spec.traffic: required field is missing [refused]",
        "spec.stages: required field is missing [refused]",
        "spec.a: unknown field: remove it [refused]",
        "spec.b: unknown field: remove it [refused]",
    ]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (PLAN.replace("sum(", "su("), (0, 13, "error", "type", "spec.guards[0].query")),
        (PLAN.replace("sum(", "sum(("), (0, 13, "error", "syntax", "spec.guards[0].query")),
        (
            PLAN.replace('="$deployment"', '="$depl",new="$new"'),
            (0, 13, "error", "unknown-variable", "spec.guards[0].query"),
        ),
        (POLICY.replace("slo", "1 < 2 or slo"), (0, 6, "error", "type", "spec.errorBudget.query")),
    ],
)
def test_promql_that_prometheus_refuses_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, finding: tuple[Any, ...]
) -> None:
    assert lint(tmp_path, capsys, text) == (1, [finding])


def test_promql_that_is_not_what_was_meant_fails_where_warnings_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = (0, 13, "warning", "hidden-gap", "spec.guards[0].query")
    assert lint(tmp_path, capsys, HIDDEN) == (0, [finding])
    assert lint(tmp_path, capsys, HIDDEN, options="--strict") == (1, [finding])


def test_hints_never_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hint = (0, 13, "hint", "raw-counter", "spec.guards[0].query")
    text = PLAN.replace("rate(", "(").replace("[$window]", "")
    assert lint(tmp_path, capsys, text, options="--strict") == (0, [hint])


def test_other_kinds_are_counted_and_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    assert main(["lint", *written(tmp_path, f"{config}---\n{config}---\n{PLAN}")]) == 0
    assert capsys.readouterr().out == "1 plan checked, 2 objects of other kinds not; nothing found\n"


def test_files_without_an_object_of_ours_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, capsys, SHOP) == (0, [(0, 1, "warning", "nothing-checked", "")])
    assert lint(tmp_path, capsys, SHOP, options="--strict")[0] == 1


def test_a_default_is_held_against_the_line_above_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = '      soak: 30s\n      pass: [{name: a, query: "sum(x)", is: "> 0"}]\n'
    _, found = lint(tmp_path, capsys, PLAN.replace("      soak: 5m\n", stage))
    assert (0, 19, "warning", "window-over-soak", "spec.stages[0].pass[0].window") in found


# ---- sources -------------------------------------------------------------------------------------

SHORT = (0, 13, "warning", "short-range", "spec.guards[0].query")
OWN = SOURCE.replace("Cluster", "").replace("{name: default}", "{name: default, namespace: shop}")


@pytest.mark.parametrize(
    ("others", "options", "short"),
    [
        ([], "", False),
        ([], "--scrape-interval=30s", True),
        ([SOURCE], "", True),
        ([SOURCE.replace("30s", "15s")], "--scrape-interval=30s", False),
        ([SOURCE.replace("  scrapeInterval: 30s\n", "")], "--scrape-interval=30s", False),
        ([SOURCE.replace("name: default", "name: other")], "", False),
        ([OWN], "", True),
        ([OWN.replace("namespace: shop", "namespace: other")], "", False),
        ([SOURCE, OWN.replace("30s", "15s")], "", False),
        ([SOURCE.replace("30s", "15s"), OWN], "", True),
    ],
)
def test_ranges_are_held_against_the_scrapes_of_the_plans_own_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], others: list[str], options: str, short: bool
) -> None:
    code, found = lint(tmp_path, capsys, PLAN, *others, options=options)
    assert (code, [each for each in found if each[3] != "not-in-files"]) == (0, [SHORT] if short else [])


def test_a_source_that_is_refused_says_nothing_of_scrapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = lint(tmp_path, capsys, PLAN, SOURCE.replace("url:", "uri:"))
    assert (code, {rule for _, _, _, rule, _ in found}) == (1, {"refused"})


def test_sources_scrape_as_often_as_the_command_takes_for_granted() -> None:
    assert format_duration(MetricSourceSpec.model_fields["scrape_interval"].default) == "15s"


# ---- files ---------------------------------------------------------------------------------------

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{this}: &{this} [{','.join([f'*{last}'] * 8)}]\n" for last, this in pairwise("abcdefg")
)
"""Two million ones in seven lines."""


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (f"{SHOP}---\na: [\n", "6:1", "invalid YAML. A value is missing here, or a brace or bracket above"),
        (f"{SHOP}\ta: b\n", "4:1", "invalid YAML. Tabs cannot indent YAML: write spaces in place of the tab"),
        (f"{SHOP}spec: *gone\n", "4:7", 'invalid YAML. Values that begin with * need quotes: spec: "*gone"'),
        (f"{SHOP}spec: !secret x\n", "4:7", 'invalid YAML. Values that begin with ! need quotes: spec: "!secret x"'),
        (f"{SHOP}spec: \x01\n", "4:7", "not valid text: control characters are not allowed"),
        (SHOP.encode() + b"spec: \xff\n", "4:7", "is not UTF-8: byte 0xff is no character"),
        (f'{SHOP}spec: "\\ud800"\n', "4:7", "invalid YAML. An escape in this value is half a character"),
        ("[" * 900, "1:501", "nested too deeply"),
        (f"{SHOP}spec: &a [*a]\n", "4:7", "more than 200000 parts in one object"),
        (LAUGHS, "1:17", "more than 200000 parts in one object"),
    ],
)  # fmt: skip
def test_what_is_no_yaml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes, place: str, words: str
) -> None:
    (file,) = written(tmp_path, text)
    assert main(["lint", file]) == 2
    said = capsys.readouterr().out
    assert f"{file}:{place}: error: {words}" in said


def test_what_stands_before_and_beside_what_is_no_yaml_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = lint(tmp_path, capsys, f"{HIDDEN}---\n[\n", CART.replace("5m", "5"))
    assert code == 2
    assert [(file, rule) for file, _, _, rule, _ in found] == [(0, "hidden-gap"), (0, "unreadable"), (1, "refused")]


@pytest.mark.parametrize(("name", "words"), [("gone.yaml", "No such file"), (".", "no manifests"), ("a\0b", "null")])
def test_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str) -> None:
    assert main(["lint", str(tmp_path / name)]) == 2
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("number", ["9" * 5000, "0b_", "0x", "1e999", ".inf", "=", "<<", "!!int x", "2026-13-45"])
def test_what_is_no_number_breaks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str) -> None:
    assert main(["lint", *written(tmp_path, f"{POLICY}  maxConcurrent: {number}\n")]) in (1, 2)
    assert "maxConcurrent" in (said := capsys.readouterr().out) or "invalid YAML" in said


@given(
    st.lists(
        st.sampled_from(
            [*PLAN.splitlines(), *POLICY.splitlines(), "---", "- a", "? b", "*a", "&a", "!b", "{", "[", '"', "|", "\t"]
        ),
        max_size=30,
    ).map("\n".join)
    | st.text(max_size=30)
)
def test_nothing_but_findings_comes_of_nonsense(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode(errors="surrogatepass"))))
        assert main(["lint", "-"]) in (0, 1, 2)
    assert said.getvalue()


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(HIDDEN.encode())))
    assert main(["lint", "-"]) == 0
    assert capsys.readouterr().out.startswith("-:13:71: warning: RolloutPlan shop/checkout-v2 spec.guards[0].query: ")


def test_a_list_as_kubectl_gets_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = "".join("- " + text.replace("\n", "\n  ").rstrip(" ") for text in (CART, HIDDEN, CONFIG))
    code, found = lint(tmp_path, capsys, f"apiVersion: v1\nkind: List\nitems:\n{items}")
    assert code == 0
    assert found == [(0, 34, "warning", "hidden-gap", "spec.guards[0].query")]


def test_json_is_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan", "metadata": {"name": "a"}, "spec": {}}
    code, found = lint(tmp_path, capsys, json.dumps(plan, indent=2))
    assert (code, found[0]) == (1, (0, 7, "error", "refused", "spec.old"))


@pytest.mark.parametrize("daily", ["{from: 22:00, to: 06:00}", '{from: "22:00", to: "06:00"}'])
def test_times_need_no_quotes_because_kubectl_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], daily: str
) -> None:
    windows = (
        f"[{{reason: nights, daily: {daily}}}, {{reason: x, from: 2026-12-20T00:00:00Z, to: 2027-01-02T00:00:00Z}}]"
    )
    assert lint(tmp_path, capsys, f"{POLICY}  freeze: {{windows: {windows}}}\n  maxConcurrent: 3\n") == (0, [])


@pytest.mark.parametrize(("number", "code"), [("3", 0), ("0x3", 0), ("03", 0), ("3.5", 1), ("3:30", 1)])
def test_numbers_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str, code: int) -> None:
    assert lint(tmp_path, capsys, f"{POLICY}  maxConcurrent: {number}\n")[0] == code


# ---- printing ------------------------------------------------------------------------------------


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = written(tmp_path, HIDDEN, CART.replace("soak: 5m", "soak: 5m\n      deadline: 1m"), CONFIG)
    assert main(["lint", *files]) == 1
    hidden, refused, counted = capsys.readouterr().out.splitlines()
    assert hidden.startswith(
        f'{files[0]}:13:71: warning: RolloutPlan shop/checkout-v2 spec.guards[0].query: "or vector(0)"'
    )
    assert hidden.endswith(" [hidden-gap]")
    words = "1m is shorter than the soak of 5m: write at least the soak [refused]"
    assert refused == f"{files[1]}:19:7: error: RolloutPlan shop/cart-v2 spec.stages[0].deadline: {words}"
    assert counted == (
        "2 plans checked, 1 object of other kinds not; 1 error, 1 warning; what is refused hides other mistakes in"
        " its object: correct it, and run lint again"
    )


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (PLAN, "1 plan checked; nothing found"),
        (f"{POLICY}---\n{POLICY.replace('name: all', 'name: none')}", "2 RolloutPolicies checked; nothing found"),
    ],
)
def test_text_ends_with_how_much_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, counted: str
) -> None:
    assert main(["lint", *written(tmp_path, text)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == counted


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = written(tmp_path, PLAN.replace("kind: RolloutPlan", "kind: RoloutPlan"))
    assert main(["lint", "-o", "json", file]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {
            "file": file,
            "line": 2,
            "column": 1,
            "object": "RoloutPlan shop/checkout-v2",
            "path": "kind",
            "rule": "object",
            "severity": "error",
            "message": '"RoloutPlan" is not a kind of rolloutplan.dev: write RolloutPlan',
        }
    ]
    (file,) = written(tmp_path, PLAN)
    assert main(["lint", "-o", "json", file]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_github(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in a file never becomes a command of its own."""
    tmp_path /= "a,b:c"
    tmp_path.mkdir()
    refused, counter = (
        PLAN.replace("5m", '"5\\n::%"').replace("checkout", "cart"),
        CART.replace("cart", "till").replace("rate(", "(").replace("[$window]", ""),
    )
    assert main(["lint", "-o", "github", *written(tmp_path, refused, HIDDEN, counter, CONFIG)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]
    assert "a%2Cb%3Ac/0.yaml,line=18,col=7,title=rolloutplan refused::RolloutPlan shop/cart-v2 spec.stages" in lines[0]
    assert '"5 ::%25" is not a duration' in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FILE is missing"),
        (["--output=xml", "a.yaml"], '"xml" is not one of text, json, github'),
        (["--scrape-interval=15", "a.yaml"], '"15" is not a duration: write "15s", "15m" or "15h"'),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lint", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


COUNTING = (
    PLAN
    + """\
      pass:
        - name: no-worse
          events:
            bad: errors_total{deployment="$deployment"}
            total: requests_total{deployment="$deployment"}
          vsOld: "< 2x"
"""
)


@pytest.mark.parametrize(
    ("traffic", "rules"),
    [
        ("", []),
        ("--traffic 12/s --bad 0.2%", ["cannot-conclude"]),
        ("--traffic 20000/s --bad 0.2%", ["cannot-conclude"]),  # at 100 % nothing is left to compare with
    ],
)
def test_a_stage_that_cannot_be_decided_in_its_time_is_said_where_the_traffic_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], traffic: str, rules: list[str]
) -> None:
    code, found = lint(tmp_path, capsys, COUNTING, options=traffic)
    assert (code, [rule for _, _, _, rule, _ in found]) == (0, rules)


def test_a_dry_run_keeps_no_stage_from_being_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tried = COUNTING + "          dryRun: true\n"
    assert lint(tmp_path, capsys, tried, options="--traffic 12/s --bad 0.2%") == (0, [])


def test_at_enough_traffic_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = COUNTING.replace("[5%, 100%]", "[5%, 50%]") + "    - weight: 100%\n"
    assert lint(tmp_path, capsys, some, options="--traffic 20000/s --bad 0.2%") == (0, [])
    assert lint(tmp_path, capsys, some, options="--traffic 12/s --bad 0.2%")[1] == [
        (0, 20, "warning", "cannot-conclude", "spec.stages[0].pass[0]")
    ]


@pytest.mark.parametrize(
    ("option", "form"),
    [
        ("--traffic=0", "such as 12/s or 500/h"),
        ("--traffic=12/fortnight", "such as 12/s or 500/h"),
        ("--traffic=many", "such as 12/s or 500/h"),
        ("--bad=0.2", 'write "20%" or "0.2%"'),
        ("--bad=.", "such as 0.2%"),
        ("--bad=100%", "such as 0.2%"),
    ],
)
def test_traffic_that_is_none_is_refused_with_its_form(
    option: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lint", option, "-"])
    assert ended.value.code == 2
    assert form in capsys.readouterr().err


# ---- templates -------------------------------------------------------------------------------------------------------

TEMPLATE = """\
apiVersion: rolloutplan.dev/v1alpha1
kind: ClusterPredicateTemplate
metadata: {name: errors}
spec:
  indicates: Failure
  parameters: [{name: atMost, type: Number, default: "1"}]
  query: |
    sum(rate(errors_total{deployment="$deployment"}[$window]))
  is: "> $(atMost)"
"""
NAMES = PLAN[: PLAN.index("    - name: errors")] + "    - {template: errors}\n" + PLAN[PLAN.index("  stages:") :]
ELSEWHERE = TEMPLATE.replace("kind: Cluster", "kind: ").replace("errors}", "errors, namespace: bank}", 1)
SUSPECT = TEMPLATE.replace("[$window]))", "[$window])) or vector(0)")


@pytest.mark.parametrize(
    ("texts", "code", "found"),
    [
        ((NAMES, TEMPLATE), 0, []),
        ((NAMES + "---\n" + TEMPLATE,), 0, []),
        ((NAMES, ELSEWHERE), 0, [(0, 11, "hint", "template", "spec.guards[0]")]),
        ((NAMES,), 0, [(0, 11, "hint", "template", "spec.guards[0]")]),
        (
            (NAMES.replace("{template: errors}", "{template: errors, with: {atMost: 5%}}"), TEMPLATE),
            1,
            [(0, 11, "error", "template", "spec.guards[0]")],
        ),
        (
            (NAMES, TEMPLATE.replace("indicates: Failure", "indicates: Nothing")),
            1,
            [(0, 11, "error", "template", "spec.guards[0]"), (1, 5, "error", "refused", "spec.indicates")],
        ),
        (
            (NAMES, SUSPECT),
            0,
            [(0, 11, "warning", "hidden-gap", "spec.guards[0].query"), (1, 8, "warning", "hidden-gap", "spec.query")],
        ),
        ((TEMPLATE.replace("name: errors", "name: a.b"),), 1, [(0, 3, "error", "object", "metadata.name")]),
    ],
    ids=[
        "in another file", "in the same", "of another namespace", "nowhere", "a wrong value",
        "a template that is refused", "a trap in it", "a name that no plan could name",
    ],
)  # fmt: skip
def test_templates_are_looked_for_among_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], texts: tuple[str, ...], code: int, found: list[Any]
) -> None:
    assert lint(tmp_path, capsys, *texts) == (code, found)


def test_what_stands_beside_an_unknown_template_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = HIDDEN.replace("  stages:", "    - {template: unknown}\n  stages:")
    _, found = lint(tmp_path, capsys, both)
    assert [rule for _, _, _, rule, _ in found] == ["hidden-gap", "template"]


def test_many_equal_findings_of_a_plan_are_one_line_of_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard = "    - {name: gN, query: \"sum(rate(x_total{a='$slot',b='$new'}[$window]))\", is: \"> 1\"}\n"
    guards = "".join(guard.replace("gN", f"g{i}") for i in range(4))
    files = written(tmp_path, PLAN.replace("  stages:", f"{guards}  stages:"))
    main(["lint", *files])
    *lines, last = capsys.readouterr().out.splitlines()
    (line,) = [each for each in lines if "$slot" in each]
    assert " (the same in 3 more: spec.guards[2].query (line " in line
    assert "4 errors" in last
    main(["lint", "-o", "json", *files])
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["rule"] == "unknown-variable" for row in rows) == 4


def test_the_last_line_says_that_invalid_yaml_hides_what_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lint", *written(tmp_path, f"{PLAN}---\n[\n---\n{CART}")])
    *_, last = capsys.readouterr().out.splitlines()
    assert last.endswith(
        "; what cannot be read hides other mistakes after it in its file: correct it, and run lint again"
    )
    main(["lint", str(tmp_path / "nowhere.yaml")])
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "nothing checked; 1 error"


OWN_KIND = """
apiVersion: rolloutplan.dev/v1alpha1
kind: RouteKind
metadata: {name: edges}
spec:
  group: example.com
  versions: [v1]
  resource: edges
  rules: {"": "spec.backends[]"}
  name: [name]
  weight: weight
  weights: {sum: 100, max: 100}
  accepted: {settle: 2s}
---
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPlan
metadata: {name: checkout-v2, namespace: shop}
spec:
  old: {deployment: checkout-v1}
  new: {deployment: checkout-v2}
  traffic: {routes: [{kind: edges, name: checkout}]}
  guards: [{name: slow, query: 'p99{deployment="$deployment"}', is: "> 1"}]
  stages: [{weights: [2.5%, 100%]}]
"""


def test_a_kind_that_the_files_describe_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = lint(tmp_path, capsys, OWN_KIND)
    assert code == 1
    assert [row[3:] for row in found if row[2] == "error"] == [
        ("unproved", "spec.traffic.routes"),
        ("too-fine", "spec.stages[0].weights[0]"),
    ]
