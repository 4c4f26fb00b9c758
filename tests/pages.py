"""The fenced blocks of the documentation, and what tests are to do with each of them.

A comment in the line before a block says it; readers do not see it. A comment with a command in it needs no block.

    <!-- bed: file plan.yaml -->    the block is saved under this name
    <!-- bed: run -->               bash runs the block (`sh`), or Prometheus has an answer to it (`promql`)
    <!-- bed: fails -->             bash runs it, and it must fail
    <!-- bed: watch -->             bash runs it for two seconds: it does not end by itself
    <!-- bed: expect -->            the last block that was run has printed these lines, with others between them
    <!-- bed: $ hurry plan.yaml --> bash runs this command, unseen
    <!-- bed: load shop.example.com --> from here on requests come; each is to be answered well
    <!-- lint: values -->           the YAML is values of our chart
    <!-- lint: kind HTTPRoute -->   the YAML is a part of this built-in kind of route
    <!-- lint: rollout -->          the YAML is the strategy of a Rollout of Argo
    <!-- lint: canary -->           the YAML is the analysis of a Canary of Flagger
    <!-- lint: converted -->        the YAML is the plan that the block before it becomes
    <!-- lint: no -->               the YAML is of other software, and has to be YAML

Without a comment, YAML is checked by `rolloutplan lint`, PromQL and JSON are read, and the commands for a shell have to
be such that the programs would take them. A line `--8<-- "path"` stands for a file of the repository, as in the site.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.shop import ROOT

PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
READ_ONLY = frozenset({"", "no", "values", "kind", "rollout", "canary", "converted"})
"""What is said of a block that no reader is to do anything with."""
_MARK = re.compile(r"\s*<!-- (bed|lint): (\S+) ?(.*?) -->\s*")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")
_FENCE = re.compile(r"\s*(`{3,})(\w*)")
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_TIME = re.compile(r"(\d+(d|h|m|s|ms))+")
"""A time in what a command prints, such as the age of an object: it is another one each time."""


@dataclass(frozen=True)
class Block:
    """A fenced block, without its indentation, or a command of a comment, whose language is `sh`."""

    page: Path
    line: int
    """That of the fence, or of the comment, from 1."""
    language: str
    text: str
    action: str = ""
    """What the comment says is to be done, such as `run`; empty without a comment."""
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in their order."""
    lines = enumerate(page.read_text().splitlines(), start=1)
    mark: re.Match[str] | None = None
    for number, line in lines:
        if found := _FENCE.match(line):
            fence, language = found.groups()
            inside = []
            for _, text in lines:
                if text.strip() == fence:
                    break
                inside.append(text)
            said = (mark[2], mark[3]) if mark else ("", "")
            yield Block(page, number, language, _included(textwrap.dedent("\n".join(inside))) + "\n", *said)
            mark = None
            continue
        if mark and line.strip():
            raise ValueError(f"{page}:{number}: a comment stands before a text that is no block")
        mark = _MARK.fullmatch(line) or mark
        if mark and mark[2] in ("$", "load"):
            yield Block(page, number, "sh", mark[3], mark[2], mark[3])
            mark = None


def _included(text: str) -> str:
    """A block with the files in it that it names, as the site has them."""
    return _SNIPPET.sub(lambda named: (ROOT / named[1]).read_text().rstrip("\n"), text)


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page outside its blocks, with their numbers from 1."""
    inside = ""
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence and not inside:
            inside = fence[1]
        elif line.strip() == inside:
            inside = ""
        elif not inside:
            yield number, line


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Where the links of a page lead, each with its line; not those to other sites."""
    for number, line in prose(page):
        yield from ((number, link) for link in _LINK.findall(_CODE.sub("", line)) if "://" not in link)


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    found: set[str] = set()
    for title in (line.lstrip("#").strip() for _, line in prose(page) if re.match("#+ ", line)):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        again = next(n for n in count() if (f"{name}-{n}" if n else name) not in found)
        found.add(f"{name}-{again}" if again else name)
    return found


def missing(expected: str, printed: str) -> list[str]:
    """The lines of an expected text that were not printed, in this order.

    Spaces do not count, a time such as `14m` is as good as any other, and `...` is anything.
    """
    rest, absent = iter([" ".join(line.split()) for line in printed.splitlines()]), []
    for line in expected.splitlines():
        pattern = r"\s".join(map(_pattern, line.split()))
        if pattern not in ("", ".*") and not any(re.fullmatch(pattern, each) for each in rest):
            absent.append(line)
    return absent


def _pattern(word: str) -> str:
    if _TIME.fullmatch(word):
        return _TIME.pattern
    return ".*".join(map(re.escape, word.split("...")))
