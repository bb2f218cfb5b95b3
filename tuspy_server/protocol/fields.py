"""Grammar of the header fields. Bad input raises InvalidField or one of its kinds, never anything else."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from werkzeug.http import http_date

from tuspy_server.errors import InvalidField, InvalidMetadata
from tuspy_server.models import EMPTY, Request
from tuspy_server.protocol.intents import Content

LARGEST_INTEGER = 2**63 - 1  # tusd's range, and what every store can hold
MOST_METADATA_PAIRS = 1000
OWS = " \t"

_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_KEY = re.compile(r"[^\x00-\x20\x7f,]+")


def integer(value: str, error: type[InvalidField] = InvalidField) -> int:
    """1*DIGIT up to 2**63 - 1 (int() would take signs, blanks, underscores and other scripts' digits)."""
    text = value.strip(OWS)
    if _DIGITS.fullmatch(text) is None or (number := int(text)) > LARGEST_INTEGER:
        raise error
    return number


def content(request: Request) -> Content:
    """The announced body of a request. Raises InvalidField for framing we do not trust."""
    length = request.header("content-length")
    chunked = request.header("transfer-encoding") is not None
    if chunked and length is not None:
        raise InvalidField("Content-Length and Transfer-Encoding exclude each other")
    expects = (request.header("expect") or "").strip(OWS).lower() == "100-continue"
    if chunked or (length is None and _may_be_unframed(request)):
        return Content(size=None, expects_continue=expects)
    size = 0 if length is None or not length.strip(OWS) else integer(length)
    return Content(size=size, expects_continue=expects and size > 0)


def _may_be_unframed(request: Request) -> bool:
    """Whether content may come that no field announces: HTTP/2 and HTTP/3 delimit it by themselves (RFC 9113, 8.1).

    A tus request with content names its type, so that one without stays a creation without content.
    """
    if request.http_version.partition(".")[0] not in ("2", "3") or request.method not in ("POST", "PUT", "PATCH"):
        return False
    return request.header("tus-resumable") is None or request.header("content-type") is not None


def media_type(request: Request) -> str:
    """The media type without parameters, in lower case; empty if there is none."""
    return (request.header("content-type") or "").partition(";")[0].strip(OWS).lower()


def is_metadata_key(key: str) -> bool:
    """Whether a key can be written into Upload-Metadata and read again."""
    return key.isascii() and _KEY.fullmatch(key) is not None


def _pair(element: str) -> tuple[str, str]:
    key, _, encoded = element.partition(" ")
    if _KEY.fullmatch(key) is None:
        raise InvalidMetadata
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidMetadata from exc
    return key, value.decode("utf-8", "surrogateescape")


def metadata(value: str | None) -> Mapping[str, str]:
    """Upload-Metadata: `key base64` pairs. Strict (400) where tusd drops what it cannot read.

    Blanks after a comma are allowed, as lines of the same name are joined by them. tuspy sends an empty field.
    """
    if value is None or not value.strip(OWS):
        return EMPTY
    first, *rest = value.split(",")
    if len(rest) >= MOST_METADATA_PAIRS:
        raise InvalidMetadata
    pairs = [_pair(element) for element in [first, *(r.lstrip(OWS) for r in rest)]]
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidMetadata("duplicate key in Upload-Metadata")
    return MappingProxyType(result)


def write_metadata(pairs: Mapping[str, str]) -> str | None:
    """What `metadata` reads as these pairs; None for none."""
    return ",".join(_written(key, value) for key, value in pairs.items()) or None


def _written(key: str, value: str) -> str:
    encoded = base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
    return f"{key} {encoded}" if encoded else key


def imf_date(moment: datetime) -> str:
    """RFC 9110 IMF-fixdate."""
    return http_date(moment.astimezone(UTC))
