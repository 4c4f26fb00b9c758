"""The site of docs/, built strictly, and looked through as a browser without a network would read it."""

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from tests.pages import PAGES, blocks, links
from tests.shop import ROOT

SITE = ROOT / "dist/site"
_LEADS = re.compile(r'(?:href|src)="([^"#?]+)')
_FETCHED = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:href|src)="(?:https?:)?//[^"]+')


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    """The pages of a new build; mkdocs ends with 1 where a link or an anchor leads nowhere, or a page is in no menu."""
    built = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return sorted(SITE.rglob("*.html"))


def test_links_of_the_site_lead_somewhere(pages: list[Path], record_property: Callable[[str, object], None]) -> None:
    found = 0
    for page in pages:
        for link in _LEADS.findall(page.read_text()):
            if "//" not in link and not link.startswith(("mailto:", "data:")) and page.name != "404.html":
                found += 1
                assert (page.parent / unquote(link)).exists(), f"{page.relative_to(SITE)}: {link}"
    record_property("pages", len(pages))
    record_property("links within the site", found)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.is_relative_to(ROOT / "docs")], ids=lambda page: page.name
)
def test_the_site_has_the_lists_blocks_and_cells_that_a_forge_shows(pages: list[Path], page: Path) -> None:
    """Both read Markdown otherwise: nested text in a list, or a list right below a line, is lost in one of them."""
    forge = MarkdownIt("commonmark").enable("table").render(page.read_text())
    path = page.relative_to(ROOT / "docs").with_suffix(".html")
    _, _, article = (SITE / path.with_name(path.name.replace("README", "index"))).read_text().partition("<article")
    for tag in ("<li>", "<td", "<pre"):
        assert article.partition("</article>")[0].count(tag) == forge.count(tag), tag


def test_no_page_fetches_anything_elsewhere(pages: list[Path]) -> None:
    for page in pages:
        assert not _FETCHED.findall(page.read_text()), page.relative_to(SITE)
    assert "stateDiagram" in (SITE / "states.html").read_text()
    assert (SITE / "assets/mermaid.js").stat().st_size > 2**20, "the script that draws it"


def test_what_the_pages_have_is_counted(record_property: Callable[[str, object], None]) -> None:
    """The other tests of this part check each of these."""
    record_property("links of the pages", sum(1 for page in PAGES for _ in links(page)))
    for language, number in sorted(Counter(block.language for page in PAGES for block in blocks(page)).items()):
        record_property(f"blocks of {language}", number)
