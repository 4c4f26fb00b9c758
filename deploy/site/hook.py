"""What the site has that docs/ has not: the pages of the root, and a page for each file that a page links to.

In the repository a link leads to a file, as on any forge. In the site the same link leads to a page that shows it.
"""

import posixpath
import re
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OF_THE_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing/index.md",
    "SECURITY.md": "reporting.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages outside docs/, and where the site has them."""
FOLDERS = {"docs/contributing": "contributing/index.md", "docs/adr": "adr/README.md", "examples": "cookbook.md"}
LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".sh": "sh", ".lua": "lua", ".tpl": "yaml"}
_LINK = re.compile(r"^ *(`{3,}).*?^ *\1 *$|(?<=\]\()[^)\s]+(?=\))", re.DOTALL | re.MULTILINE)
"""Where a link leads; or a fenced block, in which there is none (it has group 1)."""
_MARK = re.compile(r"^ *<!-- (?:bed|lint): .* -->\n", re.MULTILINE)
"""What a page says to the tests."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the script that draws diagrams, so that no reader's browser has to fetch it elsewhere."""
    for source, uri in OF_THE_ROOT.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    pages = [file for file in files if file.is_documentation_page()]
    for path in sorted({path for page in pages for path in _shown(page)}):
        files.append(File.generated(config, f"files/{path}.md", content=_page(path)))
    with (resources("mermaidx") / "assets" / "mermaid.js").open("rb") as script:
        files.append(File.generated(config, "assets/mermaid.js", content=script.read()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Have links lead to pages of the site."""

    def leads(link: re.Match[str]) -> str:
        path, _, anchor = link[0].partition("#")
        target = "" if link[1] else _target(page.file, path)
        if not target:
            return link[0]
        to = posixpath.relpath(_uri(target), posixpath.dirname(page.file.src_uri) or ".")
        return f"{to}#{anchor}" if anchor else to

    return _LINK.sub(leads, _MARK.sub("", markdown))


def _shown(page: File) -> Iterator[str]:
    """The paths of files and folders of the repository to which a page links, and which are no pages of the site."""
    for link in _LINK.finditer(page.content_string):
        path = "" if link[1] else _target(page, link[0].partition("#")[0])
        if path and _uri(path).startswith("files/"):
            yield path


def _target(page: File, link: str) -> str:
    """Where a link leads, as a path from the root; nothing of one that leads to the page itself or to another site."""
    if not link or "://" in link or page.src_uri.startswith("files/"):
        return ""
    at = next((source for source, uri in OF_THE_ROOT.items() if uri == page.src_uri), f"docs/{page.src_uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(at), link))


def _uri(path: str) -> str:
    """Where the site has a file or folder of the repository."""
    if known := OF_THE_ROOT.get(path) or FOLDERS.get(path):
        return known
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}.md"


def _page(path: str) -> str:
    """A page that shows a file, or all files of a folder."""
    at = ROOT / path
    shown = [at] if at.is_file() else sorted(each for each in at.rglob("*") if each.is_file())
    text = "".join(
        f"{'' if each == at else f'## {each.relative_to(at)}'}\n\n"
        f"`````{LANGUAGES.get(each.suffix, 'text')}\n{each.read_text()}`````\n\n"
        for each in shown
    )
    return f"---\nsearch: {{exclude: true}}\n---\n# {path}\n\n{text}"
