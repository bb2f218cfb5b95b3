"""Structured field values: what counts, and what counts as absent (R8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuspy_server.protocol import structured


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("100", 100),
        ("00100", 100),
        ("100;a=1", 100),
        (" 100 ", 100),
        ("\t100\t", 100),
        ("-0", 0),
        ("999999999999999", 999999999999999),
    ],
)
def test_an_integer_is_read(value: str, expected: int) -> None:
    assert structured.integer(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "-1",
        "1.0",
        '"100"',
        "?1",
        "100, 200",
        "9" * 16,
        "1e3",
        "+1",
        "1_0",
        "@123",
        ":MQ==:",
        "\u0661",
        "1\xa0",
    ],
)
def test_what_is_no_integer_counts_as_absent(value: str | None) -> None:
    assert structured.integer(value) is None


@pytest.mark.parametrize(("value", "expected"), [("?1", True), ("?0", False), ("?1;x", True), (" ?0 ", False)])
def test_a_boolean_is_read(value: str, expected: bool) -> None:
    assert structured.boolean(value) is expected


@pytest.mark.parametrize("value", [None, "", "1", "0", "true", "?2", "?1, ?0", "?", "?1?", "\uff1f1"])
def test_what_is_no_boolean_counts_as_absent(value: str | None) -> None:
    assert structured.boolean(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("min-size=0,max-size=10", {"min-size": 0, "max-size": 10}),
        ("a=1;x=2, a=3", {"a": 3}),
        ("a", {"a": True}),
        ("a=(1 2)", {"a": [(1, {}), (2, {})]}),
        ("", {}),
        (None, {}),
        ("A=1", {}),
        ("a=:!:", {}),
        ("a=1, ", {}),
    ],
)
def test_a_dictionary_is_read_or_empty(value: str | None, expected: dict[str, object]) -> None:
    assert structured.dictionary(value) == expected


@given(st.text())
def test_any_text_is_a_value_or_absent(value: str) -> None:
    number = structured.integer(value)
    assert number is None or 0 <= number <= structured.LARGEST_INTEGER
    structured.boolean(value)
    structured.dictionary(value)


@given(st.integers(0, structured.LARGEST_INTEGER), st.booleans())
def test_what_was_written_is_read_again(number: int, flag: bool) -> None:
    assert structured.integer(structured.write(number)) == number
    assert structured.boolean(structured.write(flag)) is flag
