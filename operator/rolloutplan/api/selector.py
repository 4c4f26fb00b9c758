"""Selectors of PromQL as plans write them for counters: the name of one metric and its label matchers, and no more.

Used by the model of events, which refuses everything else, and by the metric provider, which appends to the name. The
name may stand before the braces, or in them: in quotes (UTF-8 names) or as `__name__`. Comments are left out.
"""

import re
from typing import Final, NamedTuple

from rolloutplan.api.text_format import QUOTED, STRING

_VARIABLE: Final = r"\$(?:\w|{\w+})"
# No text may be matched in two ways: on long texts that would take for ever.
_NAME: Final = re.compile(rf"(?:[A-Za-z_:]|{_VARIABLE})(?:[\w:]|{_VARIABLE})*")
_SELECTOR: Final = re.compile(
    rf"(?P<name>{_NAME.pattern})?\s*(?:{{(?P<labels>(?:{STRING}|{{\w+}}|[^{{}}\"'`])*)}})?", re.DOTALL
)
_MATCHER: Final = re.compile(rf"(?:{STRING}|[^,\"'`])+", re.DOTALL)
_NAMED: Final = re.compile(rf"(?:(?:__name__|\"__name__\")\s*=(?![=~])\s*)?({STRING})", re.DOTALL)
_PLAIN: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_BRACE: Final = re.compile("[{}]")
_CLOSED: Final = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`""", re.DOTALL)
_MODIFIER: Final = re.compile(r"@|(?<![\w:$])offset(?![\w:])", re.IGNORECASE)


class Selector(NamedTuple):
    """The name of a metric, without quotes, and its other matchers as they are written, separated by commas."""

    name: str
    matchers: str

    def written(self, suffix: str = "", more: str = "") -> str:
        """The selector as PromQL, with a suffix of the name and more matchers.

        A name that may not stand before the braces is written as `__name__`, which every server can read.
        """
        name = self.name + suffix
        plain = _PLAIN.fullmatch(name) is not None
        matchers = ",".join(part for part in ("" if plain else _name_matcher(name), self.matchers, more) if part)
        if plain:
            return f"{name}{{{matchers}}}" if matchers else name
        return f"{{{matchers}}}"


def read_selector(text: str) -> Selector | None:
    """Read one selector; None for any other expression, and for a selector without exactly one name."""
    found = _SELECTOR.fullmatch(without_comments(text))
    if found is None:
        return None
    names, matchers = [found["name"]] if found["name"] else [], []
    for part in _split(found["labels"] or ""):
        named = _NAMED.fullmatch(part)
        if named is None:
            matchers.append(part)
        else:
            names.append(_unquoted(named[1]))
    return Selector(names[0], ",".join(matchers)) if len(names) == 1 else None


def without_comments(text: str) -> str:
    """The query with a space for each comment; strings are kept as they are."""
    return QUOTED.sub(lambda part: " " if part[0].startswith("#") else part[0], text).strip()


def outside_strings(text: str) -> str:
    """The query without its comments and closed strings; one that does not end is none, whatever it holds."""
    return QUOTED.sub(lambda part: "" if part[0].startswith("#") or _CLOSED.fullmatch(part[0]) else part[0], text)


def is_one_instant(text: str) -> bool:
    """Whether a query reads the instant at which it is asked, and every brace outside of its strings is closed.

    `offset` and `@` read another one. A string that does not end takes the rest of the text.
    """
    bare = QUOTED.sub("", text)
    depth = 0
    for brace in _BRACE.findall(bare):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0 and _MODIFIER.search(bare) is None


def _split(labels: str) -> list[str]:
    return [part for part in (found[0].strip() for found in _MATCHER.finditer(labels)) if part]


def _unquoted(string: str) -> str:
    """The content of a string. An escaped quote stays escaped only where the written form needs it again."""
    inner = string[1:-1]
    return inner if string.startswith("`") else re.sub(r"\\([\"'\\])", r"\1", inner)


def _name_matcher(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'__name__="{escaped}"'
