"""GET of a finished upload: which bytes, and headers under which no browser runs what a stranger uploaded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from werkzeug.datastructures import ETags
from werkzeug.http import (
    parse_etags,
    parse_if_range_header,
    parse_options_header,
    parse_range_header,
    quote_etag,
)

from tuspy_server.errors import RangeNotSatisfiable
from tuspy_server.models import ByteRange, Headers, Request, Response, UploadInfo

INLINE_TYPES = frozenset(
    ["text/plain", "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "image/avif", "application/ogg"]
    + [f"audio/{name}" for name in ("wave", "wav", "x-wav", "x-pn-wav", "webm", "ogg", "mpeg", "mp4", "flac")]
    + [f"video/{name}" for name in ("mp4", "webm", "ogg")]
)  # nothing that can run script: no HTML, SVG, XML, PDF

_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+", re.ASCII)
_ATTR_CHARS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~")
LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """An answer without its body, and the bytes that make it; None for an answer that has none."""

    response: Response
    span: ByteRange | None


def etag_of(info: UploadInfo) -> str:
    """Strong: a finished upload never changes."""
    return f"{info.id}-{info.length}"


def plan_download(request: Request, info: UploadInfo) -> DownloadPlan:
    """Answer 200, 206, 304, or raise RangeNotSatisfiable."""
    assert info.length is not None
    etag = etag_of(info)
    headers = [*representation_headers(info), ("ETag", quote_etag(etag)), ("Accept-Ranges", "bytes")]
    if _is_fresh(request, etag):
        return DownloadPlan(response=Response(status=304, headers=tuple(headers)), span=None)
    found = _requested(request, info.length, etag)
    part = found or ByteRange(0, info.length)
    headers.append(("Content-Length", str(part.size)))
    if found is not None:
        headers.append(("Content-Range", f"bytes {part.start}-{part.stop - 1}/{info.length}"))
    return DownloadPlan(response=Response(status=206 if found else 200, headers=tuple(headers)), span=part)


def _is_fresh(request: Request, etag: str) -> bool:
    value = request.header("if-none-match")
    etags: ETags = parse_etags(value)
    return value is not None and etags.contains_weak(etag)


def _requested(request: Request, size: int, etag: str) -> ByteRange | None:
    condition = parse_if_range_header(request.header("if-range"))
    if condition.date is not None or (condition.etag is not None and condition.etag != etag):
        return None
    ranges = parse_range_header(request.header("range"))
    if ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1:
        return None  # several ranges: the whole is a valid answer (RFC 9110, 14.2)
    found = ranges.range_for_length(size)
    if found is None:
        raise RangeNotSatisfiable(size)
    return ByteRange(*found)


def representation_headers(info: UploadInfo) -> Headers:
    """Content-Type, Content-Disposition and the fields that keep a browser from guessing."""
    claimed = info.metadata.get("filetype") or info.metadata.get("type") or ""
    media_type = parse_options_header(claimed)[0].lower()
    known = _TYPE.fullmatch(media_type) is not None
    disposition = "inline" if known and media_type in INLINE_TYPES else "attachment"
    name = info.metadata.get("filename") or info.metadata.get("name") or ""
    return (
        ("Content-Type", media_type if known else "application/octet-stream"),
        ("Content-Disposition", disposition + _file_name(name)),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "sandbox; default-src 'none'"),
        ("Cache-Control", "private, no-cache"),
    )


def redirection(url: str) -> Response:
    """To where the bytes are. Anybody may use the address for a while: nothing may keep it or pass it on."""
    return Response(
        status=307, headers=(("Location", url), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))
    )


def clean_name(name: str) -> str:
    """A client's file name without path, control or bidi characters, of bounded length; perhaps empty."""
    name = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in name if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)[:LONGEST_NAME].strip(" .")


def _file_name(name: str) -> str:
    """RFC 6266: an ASCII fallback and filename* in UTF-8."""
    name = clean_name(name)
    if not name:
        return ""
    ascii_name = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    encoded = "".join(chr(b) if b in _ATTR_CHARS else f"%{b:02X}" for b in name.encode())
    extended = "" if encoded == name else f"; filename*=UTF-8''{encoded}"
    return f'; filename="{ascii_name}"{extended}'
