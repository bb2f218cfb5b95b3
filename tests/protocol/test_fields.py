"""Header fields: what is read, what is refused, what is written. Bad input raises InvalidField and nothing else."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuspy_server.errors import InvalidField, InvalidMetadata
from tuspy_server.models import Request
from tuspy_server.protocol import fields
from tuspy_server.protocol.intents import Content


def request(**headers: str) -> Request:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Request(method="POST", url="", path="", headers=named)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), (" 5\t", 5), (str(2**63 - 1), 2**63 - 1)])
def test_an_integer_is_digits_up_to_63_bits(text: str, number: int) -> None:
    assert fields.integer(text) == number


@pytest.mark.parametrize(
    "text",
    ["", " ", "+1", "-1", "1_0", "1 0", "1.0", "1e3", "0x1", "٣", "²", "\uff11", "1\n", "1\0", str(2**63), "9" * 40],
)
def test_what_other_readers_of_numbers_would_take_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        fields.integer(text)


@given(st.text())
def test_any_text_is_an_integer_or_refused(text: str) -> None:
    try:
        number = fields.integer(text)
    except InvalidField:
        return
    assert re.fullmatch(rf"[ \t]*0*{number}[ \t]*", text)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Content(size=0)),
        ({"content_length": "0"}, Content(size=0)),
        ({"content_length": " "}, Content(size=0)),
        ({"content_length": "5"}, Content(size=5)),
        ({"transfer_encoding": "chunked"}, Content(size=None)),
        ({"content_length": "5", "expect": " 100-Continue"}, Content(size=5, expects_continue=True)),
        ({"content_length": "0", "expect": "100-continue"}, Content(size=0)),
        ({"transfer_encoding": "chunked", "expect": "100-continue"}, Content(size=None, expects_continue=True)),
        ({"content_length": "5", "expect": "something else"}, Content(size=5)),
    ],
)
def test_the_body_is_announced_by_length_or_chunks(headers: dict[str, str], expected: Content) -> None:
    assert fields.content(request(**headers)) == expected


@pytest.mark.parametrize("value", ["-1", "x", "1, 1", "1_0"])
def test_a_length_of_the_body_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(InvalidField):
        fields.content(request(content_length=value))


def test_two_ways_to_frame_a_body_exclude_each_other() -> None:
    with pytest.raises(InvalidField):
        fields.content(request(content_length="5", transfer_encoding="chunked"))


@pytest.mark.parametrize("version", ["2", "2.0", "3"])
@pytest.mark.parametrize(
    ("method", "headers", "size"),
    [
        ("PATCH", {"upload-complete": "?1"}, None),
        ("POST", {}, None),
        ("POST", {"content-length": "0"}, 0),
        ("PATCH", {"content-length": "7"}, 7),
        ("GET", {}, 0),
        ("DELETE", {}, 0),
        ("POST", {"tus-resumable": "1.0.0"}, 0),
        ("PATCH", {"tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream"}, None),
    ],
)
def test_content_needs_no_announcement_where_the_protocol_delimits_it(
    version: str, method: str, headers: dict[str, str], size: int | None
) -> None:
    found = Request(method=method, url="", path="", headers=tuple(headers.items()), http_version=version)
    assert fields.content(found).size == size
    assert fields.content(replace(found, http_version="1.1")).size == (size or 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a/b", "a/b"), (" A/B ; c=d", "a/b"), ("", ""), (None, "")],
)
def test_a_media_type_is_read_without_case_and_parameters(value: str | None, expected: str) -> None:
    assert fields.media_type(request() if value is None else request(content_type=value)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, {}),
        ("", {}),
        (" \t", {}),
        ("filename d29ybGQ=,is_confidential", {"filename": "world", "is_confidential": ""}),
        ("a YQ==, b Yg==,\tc Yw==", {"a": "a", "b": "b", "c": "c"}),
        ("empty ", {"empty": ""}),
        ("größe w7w=", {"größe": "ü"}),
        ("bin //79", {"bin": "\udcff\udcfe\udcfd"}),
    ],
)
def test_metadata_is_pairs_of_key_and_base64(raw: str | None, expected: dict[str, str]) -> None:
    assert fields.metadata(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        ",",
        "a,,b",
        " a YQ==",
        "a YQ==,",
        "k !!",
        "k YQ",
        "k Y Q==",
        "k  YQ==",
        "k YQ== ",
        "k\tYQ==",
        "k YQ-_",
        "k\0 YQ==",
    ],
)
def test_metadata_of_another_form_is_refused(raw: str) -> None:
    with pytest.raises(InvalidMetadata):
        fields.metadata(raw)


def test_keys_of_metadata_are_unique() -> None:
    with pytest.raises(InvalidMetadata):
        fields.metadata("a YQ==,a Yg==")


def test_the_number_of_metadata_pairs_is_bounded() -> None:
    most = fields.MOST_METADATA_PAIRS
    assert len(fields.metadata(",".join(f"k{n}" for n in range(most)))) == most
    with pytest.raises(InvalidMetadata):
        fields.metadata(",".join(f"k{n}" for n in range(most + 1)))


KEYS = st.text(st.characters(codec="latin-1", exclude_characters=",", min_codepoint=33), min_size=1).filter(
    lambda key: "\x7f" not in key
)
VALUES = st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.dictionaries(KEYS, VALUES))
def test_metadata_that_was_written_is_read_again(pairs: dict[str, str]) -> None:
    written = fields.write_metadata(pairs)
    assert fields.metadata(written) == pairs
    assert (written is None) == (not pairs)


@given(st.dictionaries(KEYS, st.binary()))
def test_every_byte_of_metadata_can_be_had_back(pairs: dict[str, bytes]) -> None:
    raw = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in pairs.items())
    read = fields.metadata(raw)
    assert {key: value.encode("utf-8", "surrogateescape") for key, value in read.items()} == pairs


@given(st.text())
def test_any_text_is_metadata_or_refused(raw: str) -> None:
    try:
        pairs = fields.metadata(raw)
    except InvalidMetadata:
        return
    assert all(key and not set(key) & set(", \r\n\0") for key in pairs)


def test_a_date_is_written_in_the_one_form_of_http() -> None:
    zone = timezone(timedelta(hours=2))
    assert fields.imf_date(datetime(2026, 1, 2, 5, 4, 5, tzinfo=zone)) == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert fields.imf_date(datetime(2026, 11, 30, tzinfo=UTC)) == "Mon, 30 Nov 2026 00:00:00 GMT"
