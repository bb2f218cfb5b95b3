"""Structured field values (RFC 9651). What cannot be used counts as absent, never as an error."""

from __future__ import annotations

from collections.abc import Mapping

import http_sf

from tuspy_server.models import EMPTY

LARGEST_INTEGER = 10**15 - 1  # RFC 9651, 3.3.1: at most 15 digits


def integer(value: str | None) -> int | None:
    """A non-negative integer Item; parameters are ignored."""
    found = _item(value)
    return found if type(found) is int and found >= 0 else None


def boolean(value: str | None) -> bool | None:
    """A boolean Item; parameters are ignored."""
    found = _item(value)
    return found if isinstance(found, bool) else None


def dictionary(value: str | None) -> Mapping[str, object]:
    """The members of a Dictionary without their parameters; the last of a duplicate counts. Empty if unusable."""
    parsed = _parse(value, "dictionary")
    return {key: _bare(member) for key, member in parsed.items()} if isinstance(parsed, dict) else EMPTY


def write(value: bool | int | Mapping[str, int | bytes]) -> str:
    """An Item or a Dictionary as a field value."""
    return http_sf.ser(dict(value) if isinstance(value, Mapping) else value)


def _item(value: str | None) -> object:
    return _bare(_parse(value, "item"))


def _parse(value: str | None, kind: str) -> object:
    if value is None:
        return None
    try:
        return http_sf.parse(value.strip(" \t").encode("ascii"), tltype=kind)
    except (http_sf.StructuredFieldError, UnicodeEncodeError):
        return None


def _bare(member: object) -> object:
    return member[0] if isinstance(member, tuple) else member
