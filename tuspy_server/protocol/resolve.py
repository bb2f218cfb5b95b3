"""From a path to what it names, and from an upload to its URL."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
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


def resolve(path: str, script_name: str, config: Config, *, raw_path: str | None = None) -> Target:
    """What a decoded path names, or None.

    `script_name` is cut off where the path still carries it (ASGI's root_path does, WSGI's SCRIPT_NAME does
    not). A slash that was written %2F is no separator: `raw_path` tells.
    """
    if raw_path is not None and "%2f" in raw_path.lower():
        return None
    for prefix in (script_name.rstrip("/"), config.base_path):
        rest = _below(path, prefix)
        if rest is None:
            if prefix == config.base_path:
                return None
            continue
        path = rest
    segment = path.removeprefix("/").removesuffix("/")
    if not segment:
        return Collection() if path in ("", "/") else None
    upload_id = config.id_from(segment) if config.id_from else segment
    return UploadPath(upload_id) if upload_id is not None and is_valid_id(upload_id) else None


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
    return quote(request.script_name.rstrip("/")) + quote(config.base_path)


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
    target = resolve(rest, "", _UNPREFIXED if config.id_from is None else Config(id_from=config.id_from))
    return target.id if isinstance(target, UploadPath) else None


_UNPREFIXED = Config()
