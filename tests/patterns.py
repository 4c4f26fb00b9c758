"""All patterns of the operator, each with texts that are hostile to it, made from the pattern itself."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import rolloutplan
from rolloutplan.api.text_format import TextFormat

parser: Any = importlib.import_module("re._parser")
"""How Python itself reads a pattern; it has no types."""
sre: Any = importlib.import_module("re._constants")
FUNCTIONS: Final = ("search", "match", "fullmatch", "findall", "finditer", "sub", "split")
MOST_PUMPS: Final = 40
ENDS: Final = ("", "\0", "{", "}")


class Use(NamedTuple):
    """A pattern, and the function that is called with it."""

    where: str
    pattern: str
    flags: int
    function: str


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(rolloutplan.__path__, "rolloutplan."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def uses() -> set[Use]:
    """Every pattern in every module: compiled ones, text formats, and those that are written in a call."""
    found, sources = set[Use](), {}
    for module in modules():
        assert module.__file__ is not None
        sources[module] = Path(module.__file__).read_text()
    everything = "\n".join(sources.values())
    for module, source in sources.items():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                callers = source if name.startswith("_") else everything
                called = [each for each in FUNCTIONS if f"{name}.{each}(" in callers]
                pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("latin-1")
                found |= {Use(name, pattern, value.flags, each) for each in called or FUNCTIONS}
            elif isinstance(value, TextFormat):
                patterns = (value.pattern, *(pattern for pattern, _ in value.forbidden))
                found |= {Use(name, pattern, 0, "search") for pattern in patterns}
        found |= set(_called(module, ast.parse(source)))
    return found


def _called(module: ModuleType, tree: ast.AST) -> Iterator[Use]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.func.attr in FUNCTIONS:
            pattern = _text(module, node.args[0])
            if pattern is not None:
                yield Use(f"{module.__name__}:{node.lineno}", pattern, 0, node.func.attr)


def _text(module: ModuleType, node: ast.expr) -> str | None:
    """The text of a pattern; `name` stands for what is filled in. None for one that is an argument."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            value = getattr(module, name, None)
            return value if isinstance(value, str) else None
        case ast.JoinedStr(values=parts):
            texts = [part.value if isinstance(part, ast.Constant) else "name" for part in parts]
            return "".join(map(str, texts))
    return None


class Hostile(NamedTuple):
    """A text of any length: a beginning, a part that comes again and again, and an end."""

    before: str
    again: str
    after: str

    def text(self, length: int) -> str:
        """About this many characters of it."""
        return self.before + self.again * (length // len(self.again)) + self.after


def hostile(use: Use) -> Iterator[Hostile]:
    """What the pattern looks for, over and over, whole and in parts, behind what it begins with."""
    tree = parser.parse(use.pattern, use.flags & ~re.UNICODE)
    whole, parts = _sample(tree), list(dict.fromkeys(_samples(tree)))
    pairs = ("".join(pair) for pair in product(parts, repeat=2))
    again = list(dict.fromkeys((" ", '\\"', *parts[-4:], *parts, *pairs)))[:MOST_PUMPS]
    return (Hostile(*each) for each in product(dict.fromkeys(("", whole[:1], whole)), again, ENDS))


def _samples(tree: Any) -> Iterator[str]:
    """A text for each part of a pattern, the smallest first."""
    for kind, value in tree:
        for below in _below(kind, value):
            yield from _samples(below)
        if kind is sre.IN and value[0][0] is not sre.NEGATE:
            yield from (_member([member]) for member in value)
        yield from filter(None, [_one(kind, value)])
    yield from filter(None, [_sample(tree)])


def _below(kind: object, value: Any) -> list[Any]:
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return [value[2]]
    if kind is sre.SUBPATTERN:
        return [value[3]]
    if kind is sre.BRANCH:
        return list(value[1])
    return []


def _sample(tree: Any) -> str:
    return "".join(_one(kind, value) for kind, value in tree)


def _one(kind: object, value: Any) -> str:
    """A text that a part of a pattern matches."""
    match kind:
        case sre.LITERAL:
            return chr(value)
        case sre.NOT_LITERAL:
            return "x" if value != ord("x") else "y"
        case sre.ANY:
            return "x"
        case sre.IN:
            return _member(value)
        case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
            return _sample(value[2]) * max(1, int(value[0]))
        case sre.SUBPATTERN:
            return _sample(value[3])
        case sre.BRANCH:
            return _sample(value[1][0])
    return ""


_OF_CATEGORY: Final[Mapping[Any, str]] = {sre.CATEGORY_DIGIT: "1", sre.CATEGORY_SPACE: " ", sre.CATEGORY_WORD: "a"}


def _member(members: Any) -> str:
    if members[0][0] is sre.NEGATE:
        text = "".join(_one(kind, value) for kind, value in members[1:] if kind is sre.LITERAL)
        return next(each for each in ("x", " ", "y", "1", "(", ")", "=") if each not in text)
    kind, value = members[0]
    if kind is sre.RANGE:
        return chr(int(value[0]))
    if kind is sre.CATEGORY:
        return _OF_CATEGORY.get(value, "x")
    return _one(kind, value)
