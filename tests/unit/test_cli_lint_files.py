"""What `lint` says of files that are no manifests, or not as they were meant: YAML, encodings, folders, templates."""

# ruff: noqa: E501 - each row of a table is one line, with the whole message

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.cli.inputs import MAX_BYTES
from rolloutplan.cli.main import CLOSED_PIPE, main
from rolloutplan.cli.yaml_read import documents, place_in
from tests.unit.test_cli_lint import HIDDEN, LAUGHS, PLAN, POLICY, SHOP, written


def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes, *, exit_code: int) -> list[str]:
    """Give what `lint` finds in a file, line by line, from its place on."""
    (file,) = written(tmp_path, text)
    assert main(["lint", file]) == exit_code
    return [line.removeprefix(file) for line in capsys.readouterr().out.splitlines()]


# ---- YAML that is not what its author meant ------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        ('is: "> 1"', "is: > 5%", "14:11", 'Values that begin with > need quotes: is: "> 5%"'),
        ('is: "> 1"', "vsOld: > 1.5x", "14:14", 'Values that begin with > need quotes: vsOld: "> 1.5x"'),
        ('is: "> 1"', "is: >= 99%", "14:11", 'Values that begin with > need quotes: is: ">= 99%"'),
        ('is: "> 1"', "is: > 1 # once", "14:11", 'Values that begin with > need quotes: is: "> 1"'),
        ('is: "> 1"', "is: != 0", "14:11", 'Values that begin with ! need quotes: is: "!= 0"'),
        ('is: "> 1"', "is: |1|", "14:11", 'Values that begin with | need quotes: is: "|1|"'),
        ('is: "> 1"', 'is: "> 1', "14:11", 'The quote " that begins here is never closed: close it'),
        ("soak: 5m", "soak: %5m", "18:13", 'Values that begin with % need quotes: soak: "%5m"'),
        ("soak: 5m", "soak: @5m", "18:13", 'Values that begin with @ need quotes: soak: "@5m"'),
        ("soak: 5m", "soak: `5m`", "18:13", 'Values that begin with ` need quotes: soak: "`5m`"'),
        ("soak: 5m", "soak: *five", "18:13", 'Values that begin with * need quotes: soak: "*five"'),
        ("soak: 5m", "soak: & 5m", "18:13", 'Values that begin with & need quotes: soak: "& 5m"'),
        ("[5%, 100%]", "[5%, %100]", "17:21", 'Values that begin with % need quotes: "%100"'),
        ("spec:", "spec:\n  hypothesis: v2: it is faster", "5:15", 'A value with ": " in it needs quotes: hypothesis: "v2: it is faster"'),
        ("  old:", "\told:", "5:1", "Tabs cannot indent YAML: write spaces in place of the tab"),
        ("      soak: 5m", "    \tsoak: 5m", "18:5", "Tabs cannot indent YAML: write spaces in place of the tab"),
        ("      soak: 5m", "       soak: 5m", "18:8", "This line is indented as no line above it: correct its indentation"),
        ("      soak: 5m", "     soak: 5m", "18:6", "This line is neither an item of the list above it nor a part of one: correct its indentation"),
        ("kind: RolloutPlan", "kind:RolloutPlan", "2:1", "A space is missing after the colon: kind: ..."),
        ("      soak: 5m", "      soak 5m", "18:7", "This line is no key with a value: write a colon and a space after the key"),
        ("{deployment: checkout-v1}", "{deployment: checkout-v1", "5:8", "The { that begins here is not closed by } before line 6"),
        ("[5%, 100%]", "[5%, 100%", "17:16", "The [ that begins here is not closed by ] before line 18"),
        ("stages:\n", "stages: - a\n", "16:11", 'A list begins on a line of its own: write "- " on the next line, or quote the value'),
        ('query: |\n        sum(rate(errors_total{deployment="$deployment"}[$window]))', 'query: "sum(x{a="b"})"', "12:14", "The value ends at its second \": use other quotes around it, or a block (|): query: 'sum(x{a=\"b\"})'"),
        ('query: |\n        sum(rate(errors_total{deployment="$deployment"}[$window]))', 'query: {a="b"}[1m]', "12:14", "Values that begin with { need quotes: query: '{a=\"b\"}[1m]'"),
        ('query: |\n        sum(rate(errors_total{deployment="$deployment"}[$window]))', 'query: "x{a=~\\"a\\d\\"}"', "12:14", "A backslash in double quotes begins an escape that YAML does not know: use single quotes"),
    ],
)  # fmt: skip
def test_invalid_yaml_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, place: str, words: str
) -> None:
    found = said(tmp_path, capsys, PLAN.replace(before, after, 1), exit_code=2)
    assert found[0] == f":{place}: error: invalid YAML. {words} [unreadable]"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('is: "> 1"', "is: >5", 'spec.guards[0].is: Values that begin with > need quotes: is: ">5"'),
        ('is: "> 1"', "is: >\n        1.5x", 'spec.guards[0].is: Values that begin with > need quotes: is: "> 1.5x"'),
        ('is: "> 1"', "is: >-5", 'spec.guards[0].is: Values that begin with > need quotes: is: ">-5"'),
        ("soak: 5m", "on: 5m", 'YAML reads the key on as true or false: put it in quotes: "on"'),
        ("soak: 5m", "soak: 5m\n      soak: 6m", "soak is written twice: keep one of them (the first is in line 18)"),
    ],
)
def test_yaml_that_is_valid_and_not_as_it_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, words: str
) -> None:
    assert words in " ".join(said(tmp_path, capsys, PLAN.replace(before, after, 1), exit_code=1))


@pytest.mark.parametrize("text", ['is: "< 5%"', "is: < 5%", "is: == 5%", "is: => 5%", "is: <5%"])
def test_comparisons_that_need_no_quotes_are_read(text: str) -> None:
    ((_, raw, _),) = documents(text)
    assert list(raw) == ["is"]


def test_a_value_that_may_be_a_secret_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(tmp_path, capsys, "kind: Secret\nstringData:\n  password: @hunter2\n", exit_code=2)
    assert found[0] == ":3:13: error: invalid YAML. Values that begin with @ need quotes [unreadable]"


def test_both_parsers_of_yaml_explain_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML may have been built without libyaml."""
    from rolloutplan.cli.yaml_faults import explain  # noqa: PLC0415

    for text in ("is: > 5%\n", "a: %5\n", "a: b: c\n", "a: 'b\n", "a: {b: c\nd: e\n", "a: - b\n", "q: 'it's'\n"):
        faults = set()
        for loader in (yaml.SafeLoader, yaml.CSafeLoader):
            with pytest.raises(yaml.MarkedYAMLError) as error:
                yaml.load(text, Loader=loader)
            faults.add(explain(text, error.value))
        assert len(faults) == 1, faults


# ---- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("q: |\n  sum(\n    rate(x[5m])\n  )\n", (3, 5)),
        ("q: |2\n    rate(x[5m])\n", (2, 5)),
        ("q: >-\n  sum(\n  rate(x[5m]))\n", (3, 3)),
        ('q: "sum(a{b=\\"c\\"}) - rate(x[5m])"\n', (1, 23)),
        ("q: 'sum(a{b=''c''}) - rate(x[5m])'\n", (1, 23)),
        ("q: sum(rate(x[5m]))\n", (1, 8)),
        ("q: sum(\n  rate(x[5m]))\n", (2, 3)),
        ("- {a: 1, q: sum(rate(x))}\n", (1, 17)),
        ("q: |\r\n  # ü\r\n  rate(x[5m])\r\n", (3, 3)),
        ('q: "\\u00fc\\n rate(x[5m])"\n', None),
    ],
)  # fmt: skip
def test_a_place_within_a_value_is_found_exactly_or_not_at_all(text: str, place: tuple[int, int] | None) -> None:
    ((node, _, _),) = documents(text)
    mapping = node.value[0] if isinstance(node, yaml.SequenceNode) else node
    value = next(value for key, value in mapping.value if key.value == "q")
    assert place_in(text, value, value.value.index("rate")) == place


# ---- encodings and sizes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PLAN.encode("utf-16"), ":1:1: error: is UTF-16 or UTF-32, not UTF-8: save it as UTF-8 [unreadable]"),
        (PLAN.encode("utf-16-le"), ":1:1: error: is UTF-16 or UTF-32, not UTF-8: save it as UTF-8 [unreadable]"),
        (PLAN.encode("utf-16-be"), ":1:1: error: is UTF-16 or UTF-32, not UTF-8: save it as UTF-8 [unreadable]"),
        (PLAN.encode("utf-32"), ":1:1: error: is UTF-16 or UTF-32, not UTF-8: save it as UTF-8 [unreadable]"),
        (
            f"{PLAN}# für die Läden\n".encode("latin-1"),
            ":19:4: error: is not UTF-8: byte 0xfc is no character (Latin-1?): save it as UTF-8 [unreadable]",
        ),
        (PLAN.replace("5m", "5\0m").encode(), ":18:14: error: has a NUL byte, so it is no text: write it again [unreadable]"),
        (b"", ":1:1: error: has no objects: it is empty, or has nothing but comments [unreadable]"),
        (b"# a\n---\n# b\n---\n", ":1:1: error: has no objects: it is empty, or has nothing but comments [unreadable]"),
        (
            PLAN.encode() + b"# x\n" * (10 * 1024 * 1024 // 4),
            ":1:1: error: is larger than 4 MiB: name files with the plans and what belongs to them [unreadable]",
        ),
    ],
)  # fmt: skip
def test_what_is_no_text_says_so_and_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    assert said(tmp_path, capsys, data, exit_code=2)[0] == words


@pytest.mark.parametrize("data", [PLAN.replace("\n", "\r\n").encode(), PLAN.encode("utf-8-sig")])
def test_windows_files_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    assert said(tmp_path, capsys, data, exit_code=0) == ["1 plan checked; nothing found"]


def test_many_documents_of_aliases_are_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laughs = LAUGHS[: LAUGHS.index("g: ")]
    found = said(tmp_path, capsys, f"{laughs}---\n" * 20, exit_code=2)
    assert "parts in one" in found[-2]


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "? "])
def test_depth_ends_no_process(opening: str) -> None:
    """The recursion of libyaml has no bound of its own."""
    command = [sys.executable, "-m", "rolloutplan", "lint", "-"]
    ended = subprocess.run(
        command, input=opening * 100_000, capture_output=True, text=True, check=False, env=os.environ
    )
    assert (ended.returncode, ended.stderr) == (2, "")
    assert "nested too deeply" in ended.stdout


def test_json_with_pairs_of_escapes_and_tabs_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {**yaml.safe_load(PLAN)}
    plan["spec"]["hypothesis"] = "\N{ROCKET} is faster"
    assert said(tmp_path, capsys, json.dumps(plan, indent="\t"), exit_code=0) == ["1 plan checked; nothing found"]


# ---- files and folders ---------------------------------------------------------------------------


def folder(tmp_path: Path, **files: str) -> str:
    """Write files below a folder; `__` is a slash, and `_` before the ending a dot."""
    for name, text in files.items():
        file = tmp_path / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(tmp_path)


def test_a_folder_is_read_with_the_folders_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "a_yaml": PLAN,
        "b__c_yml": HIDDEN.replace("checkout", "cart"),
        "b__d_json": "{}",
        "b__e_txt": "[",
        "f_yaml": "",
    }
    hidden = tmp_path / ".git"
    hidden.mkdir()
    (hidden / "a.yaml").write_text("[")
    name = folder(tmp_path, **files)
    assert main(["lint", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:-1]] == [f"{name}/b/c.yml:13:71"]
    assert lines[-1] == "2 plans checked, 1 object of other kinds not; 1 warning"


def test_the_same_file_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = folder(tmp_path, a_yaml=PLAN)
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    assert main(["lint", f"{name}/a.yaml", name, f"{name}/../{tmp_path.name}/a.yaml"]) == 0
    assert capsys.readouterr().out == "1 plan checked; nothing found\n"


def test_a_plan_without_a_kind_in_a_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = folder(tmp_path, a_yaml=PLAN.replace("kind: RolloutPlan\n", ""), values_yaml="a: b\n")
    assert main(["lint", name]) == 1
    assert "a.yaml:1:1: error: is not a Kubernetes object" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("*.yaml", "{}/*.yaml:1:1: error: cannot be read: No such file or directory: the pattern matches no file [unreadable]"),
        ("gone.yaml", "{}/gone.yaml:1:1: error: cannot be read: No such file or directory [unreadable]"),
        ("link.yaml", "{}/link.yaml:1:1: error: is a link to nowhere.yaml, which does not exist [unreadable]"),
        ("empty", "{}/empty:1:1: error: this folder has no manifests: name one with .yaml, .yml, .json files in it [unreadable]"),
        ("comments", "{}/comments:1:1: error: has no objects: its files are empty [unreadable]"),
        ("chart", "{0}/chart:1:1: error: this folder is a Helm chart: render it first: helm template {0}/chart | rolloutplan lint - [unreadable]"),
    ],
)  # fmt: skip
def test_a_wrong_path_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str) -> None:
    folder(
        tmp_path,
        chart__Chart_yaml="apiVersion: v2\n",
        chart__templates__a_yaml="{{ }}",
        comments__a_yaml="# a\n",
        empty__a_txt="a",
    )
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")
    assert main(["lint", str(tmp_path / name)]) == 2
    assert capsys.readouterr().out.splitlines() == [words.format(tmp_path), "nothing checked; 1 error"]
    assert main(["simulate", str(tmp_path / name)]) == 2


def test_a_chart_within_a_folder_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = folder(tmp_path, a_yaml=PLAN, chart__Chart_yaml="apiVersion: v2\n", chart__templates__a_yaml="{{ }}")
    assert main(["lint", name]) == 0
    out = capsys.readouterr().out
    assert f"{name}/chart:1:1: hint: this folder is a Helm chart: render it first" in out
    assert out.endswith("1 plan checked; 1 hint\n")


def test_a_file_that_may_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied")

    (file,) = written(tmp_path, PLAN)
    monkeypatch.setattr(Path, "open", refuse)
    assert main(["lint", file]) == 2
    assert capsys.readouterr().out.startswith(f"{file}:1:1: error: cannot be read: Permission denied [unreadable]\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAN.replace("soak: 5m", "soak: {{ .Values.soak }}"), "this looks like a Helm template: render it first: helm template CHART | rolloutplan lint -"),
        (PLAN.replace("soak: 5m", 'soak: "{{ .Values.soak }}"'), "this looks like a Helm template: render it first: helm template CHART | rolloutplan lint -"),
        ("{{- if .Values.plan }}\n" + PLAN + "{{- end }}\n", "this looks like a Helm template: render it first: helm template CHART | rolloutplan lint -"),
        (PLAN.replace("soak: 5m", "soak: {{ soak }}"), "invalid YAML. This looks like a template ({{ }}): render it first, and lint the result"),
        ("{% if plan %}\n" + PLAN, "invalid YAML. This looks like a template ({{ }}): render it first, and lint the result"),
    ],
)  # fmt: skip
def test_templates_of_other_tools_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    assert words in said(tmp_path, capsys, text, exit_code=2)[-2]


def test_a_list_of_plans_has_its_doubled_keys_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = "- " + PLAN.replace("soak: 5m", "soak: 5m\n      soak: 6m").replace("\n", "\n  ").rstrip(" ")
    text = f"apiVersion: rolloutplan.dev/v1alpha1\nkind: RolloutPlanList\nitems:\n{items}"
    found = said(tmp_path, capsys, text, exit_code=1)
    assert found[0].endswith("soak is written twice: keep one of them (the first is in line 21) [twice]")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("v1alpha1", "v1beta1", '"rolloutplan.dev/v1beta1" is not a version of RolloutPlan: write rolloutplan.dev/v1alpha1'),
        ("apiVersion: rolloutplan.dev/v1alpha1\n", "", "apiVersion: required field is missing: write rolloutplan.dev/v1alpha1"),
        ("kind: RolloutPlan", "kind: rolloutplan", '"rolloutplan" is not a kind of rolloutplan.dev: write RolloutPlan'),
        ("kind: RolloutPlan", "kind: RolloutPlans", '"RolloutPlans" is not a kind of rolloutplan.dev: write RolloutPlan'),
        ("kind: RolloutPlan", "kind: Rolloutplan", '"Rolloutplan" is not a kind of rolloutplan.dev: write RolloutPlan'),
        ("rolloutplan.dev/v1alpha1\nkind: RolloutPlan", "rollout-plan.dev/v1\nkind: RollotPlan", '"RollotPlan" is not a kind of rolloutplan.dev: write RolloutPlan'),
    ],
)  # fmt: skip
def test_what_is_nearly_ours_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, words: str
) -> None:
    assert words in said(tmp_path, capsys, PLAN.replace(before, after, 1), exit_code=1)[0]


# ---- the process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["lint", "simulate"])
def test_a_broken_kubeconfig_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    files = written(tmp_path, PLAN, POLICY, SHOP)
    expected = main([command, *files]), capsys.readouterr()
    for broken in ("[", "clusters: 5", ""):
        config = tmp_path / "config"
        config.write_text(broken)
        for value in (str(config), str(tmp_path / "gone"), str(tmp_path)):
            monkeypatch.setenv("KUBECONFIG", value)
            assert (main([command, *files]), capsys.readouterr()) == expected


def test_an_empty_name_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", ""]) == 2
    assert "a file without a name: is a variable empty that should have it?" in capsys.readouterr().out


def test_judge_needs_no_kubeconfig(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setattr("sys.stdin", io.StringIO("run,look,new_total,new_bad\na,0,100,90\n"))
    assert main(["judge", "-", "--is", "> 1%"]) == 0


@pytest.mark.parametrize(
    "arguments", [["lint", "-"], ["reference"], ["states"], ["crds"], ["--help"], ["judge", "--help"]]
)
def test_a_closed_pipe_gives_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rolloutplan", *arguments]
    ended = subprocess.run(
        command, input=HIDDEN, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env=os.environ
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (CLOSED_PIPE, "")


def test_files_are_at_most_as_large_as_the_docs_say() -> None:
    assert MAX_BYTES == 4 * 1024 * 1024
