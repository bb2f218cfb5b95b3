"""Configuration: frozen dataclasses, validated on construction."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tuspy_server.models import Request

MaxSize: TypeAlias = int | Callable[[Request], int | Awaitable[int | None] | None] | None
Origins: TypeAlias = Sequence[str] | re.Pattern[str] | Callable[[str], bool] | Literal["*"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Cross-origin answers.

    `allow_origins` is "*", a list of origins, a compiled pattern that must match the whole origin, or a
    callable. With `allow_credentials` the origin is echoed, never "*"; without a restriction that would let
    every site act with the user's cookies, so "*" together with it is refused. `max_age` in seconds.
    """

    enabled: bool = True
    allow_origins: Origins = "*"
    allow_credentials: bool = False
    extra_methods: Sequence[str] = ()
    extra_headers: Sequence[str] = ()
    extra_expose: Sequence[str] = ()
    max_age: int = 86400

    def __post_init__(self) -> None:
        if isinstance(self.allow_origins, str) and self.allow_origins != "*":
            raise ValueError('Cors.allow_origins is "*", a list of origins, a compiled pattern or a callable')
        if self.allow_credentials and self.allow_origins == "*":
            raise ValueError('Cors.allow_credentials needs named origins: "*" would let every site act for the user')


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How uploads are served. Sizes in bytes, `*_timeout`, `*_interval`, `*_period` and `expires_after` in seconds.

    - `base_path`: where the app lies below its mount; a request outside it is 404. "" when mounted.
    - `base_url`: absolute URL of the collection, for Location; `relative_location` sends a path instead.
    - `trusted_proxies`: addresses or networks whose Forwarded and X-Forwarded-* fields count, "*" for all.
    - `max_size`: largest upload, or a callable per request.
    - `expires_after`: unfinished uploads are removed after it; `sliding` restarts it with every byte received.
    - `max_open_uploads`, `max_running_requests`: unfinished uploads, and requests at once, of one principal, else of
      one address; `max_appends`: requests that append to one upload. Each process counts for itself.
    - `min_rate`: bytes per second of a body, on average after 10 seconds; a slower one is interrupted.
    - `max_lifetime`: seconds after which an unfinished upload is gone, however often `sliding` prolonged it.
    - `tombstone_period`: how long a removed upload answers 410 instead of 404.
    - `acquire_lock_timeout`, `network_timeout`, `shutdown_timeout`, `hook_timeout` (post hooks).
    - `pre_hook_timeout`: a pre hook that takes longer is left behind and its request fails as if it had raised; None
      waits for it. Bounded hooks run in a thread of their own under WSGI too.
    - `post_receive_interval`: seconds between two `post_receive` calls of one request.
    - `unversioned`: whether a request that names no protocol may speak the newest resumable-upload draft.
    - `interim_responses`: send 104 answers; keep off behind proxies that do not know them.
    - `kernel_moves`: let the kernel move large bodies from the socket to the file where it can.
    - `new_id`, `url_for`, `id_from`, `principal`: callables for who needs their own.
    """

    base_path: str = ""
    base_url: str | None = None
    relative_location: bool = False
    trusted_proxies: Sequence[str] = ()
    max_size: MaxSize = None
    min_size: int | None = None
    max_append_size: int | None = None
    max_open_uploads: int | None = None
    max_running_requests: int | None = None
    max_appends: int | None = None
    min_rate: int | None = None
    max_lifetime: float | None = None
    min_append_size: int | None = None
    expires_after: float | None = None
    sliding: bool = False
    tombstone_period: float = 24 * 3600
    acquire_lock_timeout: float = 20.0
    network_timeout: float = 60.0
    shutdown_timeout: float = 10.0
    hook_timeout: float = 30.0
    pre_hook_timeout: float | None = None
    post_receive_interval: float = 1.0
    cors: Cors = field(default_factory=Cors)
    download: bool = True
    termination: bool = True
    concatenation: bool = True
    unversioned: Literal["newest", "off"] = "newest"
    interim_responses: bool = False
    kernel_moves: bool = True
    new_id: Callable[[Request], str] | None = None
    url_for: Callable[[Request, str], str] | None = None
    id_from: Callable[[str], str | None] | None = None
    principal: Callable[[Request], str | None] | None = None
    proxy_networks: tuple[_Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = self.base_path.strip("/")
        object.__setattr__(self, "base_path", f"/{path}" if path else "")
        if self.base_url is not None:
            if not re.match(r"https?://[^/?#]+[^?#]*\Z", self.base_url):
                raise ValueError(f"Config.base_url {self.base_url!r} is not an absolute http or https URL")
            object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        for name in ("acquire_lock_timeout", "network_timeout", "shutdown_timeout", "hook_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Config.{name} is seconds and must be greater than 0")
        for name in ("tombstone_period", "post_receive_interval"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Config.{name} is seconds and must not be negative")
        for name in ("expires_after", "pre_hook_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Config.{name} is seconds and must be greater than 0, or None")
        for name in ("max_size", "min_size", "max_append_size", "min_append_size"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 0:
                raise ValueError(f"Config.{name} is bytes and must not be negative")
        for name in ("max_open_uploads", "max_running_requests", "max_appends", "min_rate", "max_lifetime"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Config.{name} must be greater than 0, or None")
        if self.max_lifetime is not None and self.expires_after is None:
            raise ValueError("Config.max_lifetime needs Config.expires_after, or nothing would remove what outlived it")
        if self.sliding and self.expires_after is None:
            raise ValueError("Config.sliding needs Config.expires_after")
        networks = tuple(ipaddress.ip_network(p, strict=False) for p in self.trusted_proxies if p != "*")
        object.__setattr__(self, "proxy_networks", networks)
