"""The requirement tables are complete: every number once, every test named in them there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "requirements-tus.md"
FAULTS = {*range(1, 7), *range(8, 11)}
ROWS = {6, 8, *range(14, 21)}
QUIRKS = {1, *range(8, 34), *range(36, 46)}
EXPECTED = {
    *(f"T{number}" for number in range(1, 144)),
    *(f"SEC{number}" for number in range(1, 26)),
    *(f"P{number}" for number in range(1, 13)),
    *(f"F{number}" for number in FAULTS),
    *("RUS1", "RUS2", "D1"),
    *(f"L{number}" for number in ROWS),
    *(f"Q{number}" for number in QUIRKS),
}
ELSEWHERE = {"SEC8", "SEC17", "SEC25"}

_ROW = re.compile(r"\| (?P<number>[A-Z]+[0-9]+) \| (?P<what>[^|]+) \| (?P<proof>.+) \|")
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[str, str, str]]:
    """Number, requirement and proof of every row of every table."""
    lines = (_ROW.fullmatch(line) for line in PAGE.read_text().splitlines())
    return [(row["number"], row["what"], row["proof"]) for row in lines if row is not None]


@cache
def defined_in(path: str) -> frozenset[str]:
    """The tests that a file defines, methods of its classes included."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_number_has_one_row() -> None:
    numbers = Counter(number for number, _, _ in rows())
    assert set(numbers) == EXPECTED
    assert [number for number, count in numbers.items() if count > 1] == []


def test_every_row_of_the_page_is_understood() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    headings = [line for line in lines if line.startswith(("| # ", "| ---"))]
    assert len(lines) - len(headings) == len(rows())


@pytest.mark.parametrize(("number", "what", "proof"), rows(), ids=[number for number, _, _ in rows()])
def test_a_row_names_tests_that_are_there_or_says_why_not(number: str, what: str, proof: str) -> None:
    named = _TEST.findall(proof)
    assert len(what) < 140
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []
    assert len(named) == len(set(named))
    assert named or proof.endswith("."), "neither a test nor a sentence"
    assert proof.count("`") == 2 * len(named) or not named


def test_tests_lie_where_they_are_run() -> None:
    paths = {path for _, _, proof in rows() for path, _ in _TEST.findall(proof)}
    assert [path for path in paths if not path.startswith(("tests/", "tuspy_server/testing/"))] == []


def test_what_is_proven_elsewhere_says_where() -> None:
    for number, _, proof in rows():
        if number in ELSEWHERE:
            assert "requirements-rufh.md" in proof or "operations" in proof, number
