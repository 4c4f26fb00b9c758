"""Reasons: each is a member of its enum, and what is compared with one is never a bare string."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rolloutplan.engine

ENGINE = Path(rolloutplan.engine.__file__).parent
SOURCES = sorted(ENGINE.rglob("*.py"))


def of_reasons(tree: ast.AST) -> Iterator[ast.Compare]:
    """Every comparison of a reason that is stored as text, where mypy takes any text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [part for side in (node.left, *node.comparators) for part in ast.walk(side)]
            if any(isinstance(part, ast.Attribute) and part.attr in ("reason", "held_for") for part in parts):
                yield node


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_no_reason_is_compared_with_a_bare_string(source: Path) -> None:
    for comparison in of_reasons(ast.parse(source.read_text())):
        bare = [part for part in ast.walk(comparison) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        assert not bare, f"line {comparison.lineno}: {ast.unparse(comparison)}: take a member of api/reasons.py"
