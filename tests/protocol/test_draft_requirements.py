"""The table of the draft's requirements is complete, and every test it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "requirements-rufh.md"
EXPECTED = [*(f"R{number}" for number in range(1, 129)), "R40a", "SEC8", "SEC17", "SEC25", "L7", "L17"]

_ROW = re.compile(r"\| ([A-Z]+[0-9]+a?) \| ([^|]+) \| ([^|]+) \|")
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[str, str]]:
    """Number and proof of every row."""
    found = (_ROW.fullmatch(line) for line in PAGE.read_text().splitlines())
    return [(row[1], row[3]) for row in found if row is not None]


@cache
def defined_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_number_has_one_row() -> None:
    assert sorted(number for number, _ in rows()) == sorted(EXPECTED)


def test_every_test_that_is_named_is_there() -> None:
    named = [pair for _, proof in rows() for pair in _TEST.findall(proof)]
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []


def test_a_row_without_a_test_says_why() -> None:
    assert [number for number, proof in rows() if not _TEST.search(proof) and not proof.endswith(".")] == []
