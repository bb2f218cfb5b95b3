"""From a path to what it names, and from an upload to its URL."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import quote, urlsplit

from werkzeug.http import parse_options_header

from tuspy_server.config import Config
from tuspy_server.models import Request

SIDE_FILE_SUFFIXES = (".info", ".lock", ".stage", ".tmp")

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,127}", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Collection:
    """Where uploads are created."""


@dataclass(frozen=True, slots=True)
class UploadPath:
    """One upload, by its id."""

    id: str


Target: TypeAlias = Collection | UploadPath | None


def is_valid_id(upload_id: str) -> bool:
    """One URL segment that is also a safe file name and never names a side file."""
    return _ID.fullmatch(upload_id) is not None and not upload_id.lower().endswith(SIDE_FILE_SUFFIXES)


def resolve(path: str, config: Config, *, raw_path: str | None = None) -> Target:
    """What a decoded path below the mount names, or None.

    A slash that was written %2F is no separator: `raw_path`, the request target as received, tells.
    """
    if raw_path is not None and "%2f" in raw_path.partition("?")[0].lower():
        return None
    rest = _below(path, config.base_path)
    if rest is None:
        return None
    segment = rest.removeprefix("/").removesuffix("/")
    if not segment:
        return Collection() if rest in ("", "/") else None
    upload_id = config.id_from(segment) if config.id_from else segment
    return UploadPath(upload_id) if upload_id is not None and is_valid_id(upload_id) else None


def below_root(path: str, root_path: str, outer: str = "") -> str:
    """An ASGI `path` without the `root_path` that it carries.

    A proxy may have cut off the outermost part of it, `outer` (Starlette's app_root_path), or all of it. A path
    that was cut and goes on with the very same words cannot be told from a whole one and is taken for that.
    """
    for prefix in (root_path, root_path.removeprefix(outer.rstrip("/"))):
        rest = _below(path, prefix.rstrip("/"))
        if rest is not None:
            return rest
    return path


def _below(path: str, prefix: str) -> str | None:
    if path == prefix or path.startswith(prefix + "/"):
        return path[len(prefix) :]
    return None


def is_trusted(peer: str | None, config: Config) -> bool:
    """Whether forwarded fields from this peer count."""
    if "*" in config.trusted_proxies:
        return True
    if peer is None or not config.proxy_networks:
        return False
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in config.proxy_networks)


def _forwarded(request: Request) -> tuple[str | None, str | None]:
    """(scheme, host) as the first proxy saw them: RFC 7239 first, then the X- fields; first list element each."""
    forwarded = request.header("forwarded")
    if forwarded is not None:
        _, options = parse_options_header("x;" + forwarded.partition(",")[0])
        fields = {key.lower(): value for key, value in options.items()}
        if "proto" in fields or "host" in fields:
            return fields.get("proto"), fields.get("host")
    proto, host = (request.header(f"x-forwarded-{name}") for name in ("proto", "host"))
    return tuple(v.partition(",")[0].strip() if v else None for v in (proto, host))  # type: ignore[return-value]


def origin_of(request: Request, config: Config) -> str:
    """`scheme://host` under which the client reached us, default ports stripped."""
    scheme, host = request.scheme, request.host
    if is_trusted(request.peer, config):
        proto, forwarded_host = _forwarded(request)
        if proto is not None and proto.lower() in _DEFAULT_PORTS:
            scheme = proto.lower()
        if forwarded_host is not None and _HOST.fullmatch(forwarded_host):
            host = forwarded_host
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS[scheme])}"


def collection_path(request: Request, config: Config) -> str:
    """The absolute path of the collection, percent-encoded, without a trailing slash."""
    return _quoted(request.script_name.rstrip("/")) + _quoted(config.base_path)


def url_of(request: Request, upload_id: str, config: Config) -> str:
    """The URL a client finds an upload at, for Location."""
    if config.url_for is not None:
        return config.url_for(request, upload_id)
    if config.base_url is not None:
        return f"{config.base_url}/{upload_id}"
    path = f"{collection_path(request, config)}/{upload_id}"
    return path if config.relative_location else origin_of(request, config) + path


def id_from_url(url: str, request: Request, config: Config) -> str | None:
    """The id that one of our own URLs names, or None. Never fetched; the host is not compared, since clients
    may know us by several (SEC11)."""
    try:
        path = urlsplit(url).path
    except ValueError:  # brackets that hold no IPv6 address
        return None
    base = urlsplit(config.base_url).path if config.base_url is not None else collection_path(request, config)
    rest = _below(path, base.rstrip("/"))
    if rest is None or "%" in rest:
        return None
    target = resolve(rest, _UNPREFIXED if config.id_from is None else Config(id_from=config.id_from))
    return target.id if isinstance(target, UploadPath) else None


_quoted = lru_cache(maxsize=64)(quote)
_UNPREFIXED = Config()
