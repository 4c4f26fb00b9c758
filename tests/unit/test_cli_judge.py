"""`rolloutplan judge`: a CSV of looks in, verdicts out; and every way in which a file cannot be read."""

import io
from pathlib import Path

import pytest

from rolloutplan.api.quantities import parse_vs_old
from rolloutplan.cli.main import main
from rolloutplan.stats.sequential import CountDelta, evidence, make_hypothesis, start, step

HEADER = "run,look,new_total,new_bad,old_total,old_bad"
GOOD, WORSE = "6000,12,54000,108", "6000,36,54000,108"


@pytest.fixture
def looks(tmp_path: Path) -> Path:
    return tmp_path / "looks.csv"


def judged(file: Path, *arguments: str) -> int:
    return main(["judge", str(file), *(arguments or ("--vs-old", "> 1.5x"))])


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Run, verdict, look and evidence of each run."""
    said = capsys.readouterr()
    assert said.err.startswith("each line was read as ")
    header, *lines = said.out.splitlines()
    assert header == "run,verdict,look,evidence,needed,meaning"
    return [line.split(",")[:4] for line in lines]


def test_each_run_has_its_verdict_its_look_and_the_evidence(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{run},{delta},{counts}" for run, counts in (("a", GOOD), ("b", WORSE)) for delta in range(1, 11)]
    looks.write_text("\n".join([HEADER, *lines]) + "\n")
    assert judged(looks) == 0
    (good, *rest), worse = rows(capsys)
    assert (good, rest[:2]) == ("a", ["Undecided", ""])
    assert float(rest[2]) < 1
    of, state, taken = make_hypothesis(parse_vs_old("> 1.5x"), "fail"), None, 0
    while state is None or evidence(state).proving < 20:
        state, taken = step(of, state or start(of), CountDelta(6000, 36, 54000, 108)), taken + 1
    assert worse == ["b", "Proved", str(taken), f"{evidence(state).proving:.6g}"]


def test_runs_may_be_mixed(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed = [f"{run},{delta},{counts}" for delta in range(1, 11) for run, counts in (("a", GOOD), ("b", WORSE))]
    looks.write_text("\n".join([HEADER, *mixed]))
    judged(looks)
    found = rows(capsys)
    looks.write_text("\n".join([HEADER, *sorted(mixed, key=lambda line: line[0])]))
    judged(looks)
    assert rows(capsys) == found
    assert [row[1] for row in found] == ["Undecided", "Proved"]


def test_the_first_decision_stands(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"a,{delta},{WORSE if delta <= 10 else GOOD}" for delta in range(1, 40)]
    looks.write_text("\n".join([HEADER, *lines[:10]]))
    judged(looks)
    first = rows(capsys)
    looks.write_text("\n".join([HEADER, *lines]))
    judged(looks)
    assert rows(capsys) == first


@pytest.mark.parametrize(
    ("arguments", "counts", "verdict"),
    [
        (["--vs-old", "> 1.5x"], GOOD, "Undecided"),
        (["--vs-old", "> 1.5x", "--role", "pass"], GOOD, "Refuted"),
        (["--vs-old", "< 2x", "--role", "pass"], GOOD, "Proved"),
        (["--vs-old", "< 2x", "--role", "pass"], WORSE, "Refuted"),
        (["--vs-old", "< 2x", "--role", "fail"], WORSE, "Undecided"),
        (["--vs-old", "> +50%"], WORSE, "Proved"),
        (["--vs-old", "> 1.5x", "--confidence", "0.95"], WORSE, "Proved"),
        (["--vs-old", "> 1.5x"], "1200,7,10800,22", "Proved"),
        (["--vs-old", "> 1.5x", "--confidence", "99.999999%"], "1200,7,10800,22", "Undecided"),
        (["--is", "> 0.4%"], WORSE, "Proved"),
        (["--is", "< 0.4%", "--role", "pass"], GOOD, "Proved"),
    ],
)
def test_options(
    looks: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], counts: str, verdict: str
) -> None:
    looks.write_text("\n".join([HEADER, *(f"a,{delta},{counts}" for delta in range(8))]))
    assert judged(looks, *arguments) == 0
    assert rows(capsys)[0][1] == verdict


def test_a_bound_of_one_side_needs_no_old_columns_and_looks_at_none(
    looks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looks.write_text("run,look,new_total,new_bad\n" + "".join(f"a,{delta},6000,36\n" for delta in range(8)))
    assert judged(looks, "--is", "> 0.4%") == 0
    alone = rows(capsys)
    looks.write_text(HEADER + "\n" + "".join(f"a,{delta},6000,36,900,{delta % 2 * 800}\n" for delta in range(8)))
    assert judged(looks, "--is", "> 0.4%") == 0
    assert rows(capsys) == alone


def test_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{HEADER}\na,1,{GOOD}\n"))
    assert main(["judge", "-", "--vs-old", "> 1.5x"]) == 0
    assert [row[:3] for row in rows(capsys)] == [["a", "Undecided", ""]]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"\ufeff{HEADER}\r\na,1,{GOOD}\r\n", id="as spreadsheets write it"),
        pytest.param(f"{HEADER}\n\na,1,{GOOD}\n\n", id="empty lines"),
        pytest.param(f"{HEADER}\n a, 1, {GOOD.replace(',', ', ')}", id="blanks"),
        pytest.param(f"zone,{HEADER}\nx,a,1,{GOOD}\n", id="another column"),
        pytest.param('old_bad,old_total,new_bad,new_total,look,run\n108,54000,12,6000,1,"a"\n', id="another order"),
    ],
)
def test_what_else_is_a_csv(looks: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    looks.write_bytes(text.encode())
    assert judged(looks) == 0
    assert [row[0].strip() for row in rows(capsys)] == ["a"]


def totals(*per_look: str) -> list[str]:
    """Lines with running totals, where each look has these counts."""
    sums, lines = [0, 0, 0, 0], []
    for look, counts in enumerate(per_look, 1):
        sums = [total + int(count) for total, count in zip(sums, counts.split(","), strict=True)]
        lines.append(f"a,{look},{','.join(map(str, sums))}")
    return lines


HALF_FAIL = [f"{500 + i % 7},{i % 3},{500 - i % 5},{i % 2}" for i in range(16)] + ["1000,500,0,0"] * 45
"""A run that is healthy up to half of the traffic, and then has all of it, of which half fails."""


def test_running_totals_are_never_taken_for_looks(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks.write_text("\n".join([HEADER, *totals(*HALF_FAIL)]))
    assert judged(looks) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "run a: 60 of its 60 lines after the first have more requests than the line before" in said.err
    assert "--totals" in said.err
    assert "--per-look" in said.err


def test_running_totals_give_what_their_looks_give(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = []
    for lines, option in (
        (totals("0,0,0,0", *HALF_FAIL), "--totals"),
        ([f"a,{i},{x}" for i, x in enumerate(HALF_FAIL, 2)], "--per-look"),
    ):
        looks.write_text("\n".join([HEADER, *lines]))
        assert judged(looks, "--vs-old", "> 1.5x", option) == 0
        verdicts.append(rows(capsys))
    assert verdicts[0] == verdicts[1]
    assert verdicts[0][0][1] == "Undecided", "at 100 % nobody is left to compare with"


def test_running_totals_that_fall_are_refused(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = totals(*["100,1,100,1"] * 9)
    looks.write_text("\n".join([HEADER, *lines, "a,10,90,1,1000,9"]))
    assert judged(looks, "--vs-old", "> 1.5x", "--totals") == 2
    assert "line 11, column new_total: a running total falls from 900 to 90 in run a" in capsys.readouterr().err


def test_running_totals_with_more_bad_requests_than_requests_are_refused(
    looks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looks.write_text(f"{HEADER}\na,1,100,0,100,0\na,2,110,20,200,0")
    assert judged(looks, "--vs-old", "> 1.5x", "--totals") == 2
    assert "line 3, column new_bad: 20 more bad requests" in capsys.readouterr().err


def test_long_running_totals_with_a_restart_are_found_too(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (totals(*["100,1,100,1"] * 20) for _ in range(2))
    again = [line.replace(f"a,{i},", f"a,{i + 20},", 1) for i, line in enumerate(second, 1)]
    looks.write_text("\n".join([HEADER, *first, *again]))
    assert judged(looks) == 2
    assert "--totals" in capsys.readouterr().err


@pytest.mark.parametrize(
    "counts",
    [
        [f"{1000 + (37 * i) % 50},1,{9000 - (31 * i) % 90},9" for i in range(40)],
        ["100,0,900,1"] * 20,
        [f"{100 * (1 + i // 5)},1,{900 - 100 * (i // 5)},1" for i in range(20)],
        ["100,0,900,1", "90,0,900,1"],
        ["100,0,900,1", "110,0,910,1", "120,0,920,1"],
    ],
    ids=["noise", "always the same", "weights that rise", "falls", "three lines"],
)
def test_looks_are_not_taken_for_running_totals(
    looks: Path, capsys: pytest.CaptureFixture[str], counts: list[str]
) -> None:
    looks.write_text("\n".join([HEADER, *(f"a,{i},{each}" for i, each in enumerate(counts))]))
    assert judged(looks) == 0
    assert "as the requests since the line before (--totals: running totals)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "counts", "meaning"),
    [
        (["--vs-old", "> 1.5x"], WORSE, "evidence 64.9 of 20 needed at evaluation 1: proved that it is > 1.5x"),
        (
            ["--vs-old", "> 1.5x"],
            GOOD,
            "of 20 needed after 20 evaluations: neither proved nor refuted that it is > 1.5x",
        ),
        (["--is", "< 0.4%", "--role", "pass"], WORSE, "refuted that it is < 0.4%"),
        (["--vs-old", "> 1.5x", "--confidence", "99%"], WORSE, "of 100 needed at evaluation"),
    ],
)
def test_the_evidence_is_explained_with_what_it_takes(
    looks: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], counts: str, meaning: str
) -> None:
    looks.write_text("\n".join([HEADER, *(f"a,{look},{counts}" for look in range(1, 21))]))
    assert judged(looks, *arguments) == 0
    said = capsys.readouterr()
    assert meaning in said.out.splitlines()[1]
    assert said.out.splitlines()[1].partition("evidence ")[2]
    assert "evidence says how many times better the counts fit a side beyond the bound" in said.err


@pytest.mark.parametrize("text", ["95%", "95", "0.95", ".95", "95.0%", "0.950"])
def test_a_confidence_is_written_as_one_likes(looks: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    looks.write_text(f"{HEADER}\na,1,{GOOD}")
    assert judged(looks, "--vs-old", "> 1.5x", "--confidence", text) == 0
    assert "and 20 of it is proof at 95%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["run,look,new_total,new_bad,old_total"], "line 1, column old_bad: this column must appear exactly once"),
        (
            ["run,look,new_total,new_bad,old_total,old_bad,run"],
            "line 1, column run: this column must appear exactly once",
        ),
        ([f"a,1,{GOOD}"], "line 1, column run: this column must appear exactly once; the first line must name"),
        (
            ["run;look;new_total;new_bad"],
            "line 1, column run: this column must appear exactly once; values are separated",
        ),
        (
            ["run,look,total,bad,old_total,old_bad"],
            (
                "line 1, column new_total: this column must appear exactly once; the "
                "first line has run,look,total,bad,old_total,old_bad"
            ),
        ),
        ([], "the file is empty: write a first line with the columns run,look,"),
        ([HEADER, "a,1,100,x,100,0"], 'line 2, column new_bad: "x" is not a whole number'),
        ([HEADER, f"a,1,{GOOD}", "a,2,-100,0,100,0"], 'line 3, column new_total: "-100" is not a whole number'),
        ([HEADER, "", "a,1,100,0,100,"], 'line 3, column old_bad: "" is not a whole number'),
        ([HEADER, "a,1,100,1.5,100,0"], 'line 2, column new_bad: "1.5" is not a whole number'),
        ([HEADER, "a,1,100,nan,100,0"], 'line 2, column new_bad: "nan" is not a whole number'),
        ([HEADER, "a,one,100,0,100,0"], 'line 2, column look: "one" is not a whole number'),
        ([HEADER, "a,1,1_00,0,100,0"], 'line 2, column new_total: "1_00" is not a whole number'),
        ([HEADER, f"a,1,{'9' * 5000},0,100,0"], "line 2, column new_total: "),
        ([HEADER, "a,1,100,101,100,0"], "line 2, column new_bad: 101 bad requests are more than the total of 100"),
        ([HEADER, "a,1,100,0,100,101"], "line 2, column old_bad: 101 bad requests are more than the total of 100"),
        ([HEADER, "a,1,100,0,100"], "line 2, column old_bad: 5 values for 6 columns"),
        ([HEADER, "a,1,1,000,0,100,0"], "line 2, column old_bad: 7 values for 6 columns"),
        ([HEADER, "a,2,100,0,100,0", "a,1,100,0,100,0"], "line 3, column look: 1 comes after 2 in run a"),
        ([HEADER, "a,2,100,0,100,0", "a,2,100,0,100,0"], "line 3, column look: 2 comes after 2 in run a"),
        ([HEADER, *[f"a,{delta},{WORSE}" for delta in range(9)], "a,9,1,x,1,1"], "line 11, column new_bad: "),
    ],
)
def test_what_cannot_be_read_is_named(
    looks: Path, capsys: pytest.CaptureFixture[str], lines: list[str], words: str
) -> None:
    looks.write_text("\n".join(lines))
    assert judged(looks) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"rolloutplan: {words}")


def test_a_file_without_counts_is_refused(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks.write_text(HEADER + "\n")
    assert judged(looks) == 2
    assert f"{looks} has no line of counts" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_named(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks.write_bytes(HEADER.encode() + b"\na,1,\xff\xfe,0,1,0\n")
    assert judged(looks) == 2
    assert capsys.readouterr().err.startswith("rolloutplan: line 2, column new_total: ")


def test_a_file_that_is_not_there(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(looks) == 2
    assert capsys.readouterr().err == f"rolloutplan: {looks} cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of --vs-old and --is"),
        (["--vs-old", "> 1.5x", "--is", "> 1%"], "give one of --vs-old and --is"),
        (["--vs-old", "> 1x"], "noise alone"),
        (["--vs-old", "1.5x"], "is not a comparison with the old side"),
        (["--is", "1%"], "is not a comparison"),
        (["--vs-old", "> 1.5x", "--confidence", "100%"], '"100%" is not a confidence: write 50% or more'),
        (["--vs-old", "> 1.5x", "--confidence", "5%"], '"5%" is not a confidence'),
        (["--vs-old", "> 1.5x", "--confidence", "5"], '"5" is not a confidence'),
        (["--vs-old", "> 1.5x", "--role", "guard"], '--role: "guard" is not one of fail, pass'),
    ],
)
def test_wrong_usage(looks: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["judge", str(looks), *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_bound_that_counts_cannot_prove(looks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks.write_text(HEADER)
    assert judged(looks, "--vs-old", "<= +0.2") == 2
    assert "write a ratio" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bound", "role", "warned"),
    [
        (("--is", "< 1%"), "fail", True),
        (("--is", "> 1%"), "fail", False),
        (("--is", "< 1%"), "pass", False),
        (("--is", "> 1%"), "pass", True),
        (("--vs-old", "< 1.5x"), "fail", True),
        (("--vs-old", "> 1.5x"), "fail", False),
    ],
)
def test_a_bound_the_wrong_way_round_is_warned_of(
    looks: Path, capsys: pytest.CaptureFixture[str], bound: tuple[str, str], role: str, *, warned: bool
) -> None:
    looks.write_text(f"{HEADER}\na,1,{GOOD}\n")
    assert judged(looks, *bound, "--role", role) == 0
    assert ("warning: " in (err := capsys.readouterr().err)) == warned
    assert ("did you mean" in err) == warned
