"""Every flag of `tuspy-server`, in groups as --help shows them. tusd's names where tusd has the same thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import click

from tuspy_server.cli.flags import flag, options, pick
from tuspy_server.cli.hook_settings import CommandHook, GrpcHook, HookEvents, HttpHook, PluginHook
from tuspy_server.cli.storage_settings import S3, Azure, Files, Gcs, Locks, Space
from tuspy_server.cli.values import BASE_PATH, DURATION, LIST, MODE, NETWORKS, PATH, PATTERN, PRIVATE, SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    heading: ClassVar[str] = "Listening"

    host: str = flag("0.0.0.0", "Address or host name to listen at.")
    port: int = flag(8080, "Port to listen on; 0 picks a free one.", kind=click.IntRange(0, 65535))
    unix_sock: str = flag("", "Listen at this Unix socket instead; one that is there already is replaced.", kind=PATH)
    unix_sock_perms: int = flag(0o660, "Permissions of the Unix socket, octal.", kind=MODE)
    base_path: str = flag("/files/", "URL path at which uploads are created.", kind=BASE_PATH)
    workers: int = flag(1, "Processes that share the port.", kind=click.IntRange(1, 1024))
    show_greeting: bool = flag(True, "Answer GET / with a short text.")
    health_path: str = flag("/healthz", "Path that answers 200 while serving, 503 while stopping; empty is none.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    heading: ClassVar[str] = "TLS"

    tls_certificate: str = flag(
        "", "Certificate and its chain, PEM. TLS is on when it and the key are given.", kind=PATH
    )
    tls_key: str = flag("", "Private key, PEM, not encrypted.", kind=PATH)
    tls_mode: Literal["tls12", "tls12-strong", "tls13"] = flag(
        "tls12",
        "TLS 1.2 and newer with authenticated ciphers; 1.2 alone with 256-bit AES alone; 1.3 alone.",
        kind=click.Choice(["tls12", "tls12-strong", "tls13"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    heading: ClassVar[str] = "Proxies and URLs"

    behind_proxy: bool = flag(False, "Believe Forwarded and X-Forwarded-* fields of trusted proxies.")
    trusted_proxies: tuple[str, ...] = flag(
        (PRIVATE,),
        "Proxies to trust with --behind-proxy: addresses and networks separated by commas; private is this host and "
        "private networks, * is everybody.",
        kind=NETWORKS,
    )
    base_url: str = flag("", "URL of the collection as clients know it, if requests do not tell.", metavar="URL")
    relative_location: bool = flag(False, "Answer creations with a path instead of a URL.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    heading: ClassVar[str] = "Uploads"

    max_size: int = flag(0, "Largest upload, as 500MB or 5GiB; 0 is no limit.", kind=SIZE)
    expires_after: float = flag(0.0, "Remove unfinished uploads after this time, as 24h; 0 is never.", kind=DURATION)
    sliding: bool = flag(False, "Let every byte received restart the time of --expires-after.")
    tombstone_period: float = flag(86400.0, "How long a removed upload answers 410 instead of 404.", kind=DURATION)
    sweep_interval: float = flag(
        600.0, "How often expired uploads are removed and interrupted finishes taken up; 0 is never.", kind=DURATION
    )
    disable_download: bool = flag(False, "Do not serve what was uploaded.")
    disable_termination: bool = flag(False, "Do not let clients delete uploads.")
    disable_concatenation: bool = flag(False, "Do not let clients join uploads.")
    unversioned: Literal["newest", "off"] = flag(
        "newest",
        "Whether requests that name no protocol may speak the newest draft of resumable uploads.",
        kind=click.Choice(["newest", "off"]),
    )
    interim_responses: bool = flag(False, "Send 104 answers; not every proxy lets them pass.")
    kernel_moves: bool = flag(True, "Let the kernel move large bodies from the socket to the file where it can.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    heading: ClassVar[str] = "Caps for each client, counted by each worker; 0 is no limit"

    max_open_uploads: int = flag(0, "Unfinished uploads of one address.", kind=click.IntRange(0))
    max_running_requests: int = flag(0, "Requests at once from one address.", kind=click.IntRange(0))
    max_appends: int = flag(0, "Requests that append to one upload.", kind=click.IntRange(0))
    min_rate: int = flag(0, "Bytes per second a body must have on average after 10 seconds, as 1KiB.", kind=SIZE)
    max_lifetime: float = flag(
        0.0, "Remove unfinished uploads after this time even if --sliding prolonged them.", kind=DURATION
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrigin:
    heading: ClassVar[str] = "CORS"

    disable_cors: bool = flag(False, "Send no CORS fields.")
    cors_allow_origin: tuple[str, ...] = flag(
        (".*",),
        "Origin that may use the server, or a regular expression that matches it as a whole; repeatable.",
        kind=PATTERN,
        multiple=True,
    )
    cors_allow_credentials: bool = flag(False, "Let requests carry cookies; needs named origins.")
    cors_allow_methods: tuple[str, ...] = flag((), "More methods to allow, separated by commas.", kind=LIST)
    cors_allow_headers: tuple[str, ...] = flag((), "More request fields to allow, separated by commas.", kind=LIST)
    cors_expose_headers: tuple[str, ...] = flag((), "More answer fields to show, separated by commas.", kind=LIST)
    cors_max_age: float = flag(86400.0, "How long a browser may remember a preflight answer.", kind=DURATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    heading: ClassVar[str] = "Timeouts"

    network_timeout: float = flag(60.0, "How long a client may be silent in the middle of a request.", kind=DURATION)
    acquire_lock_timeout: float = flag(20.0, "How long a request waits for an upload in use.", kind=DURATION)
    shutdown_timeout: float = flag(10.0, "How long requests may take to end after SIGTERM.", kind=DURATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    heading: ClassVar[str] = "Logs"

    log_format: Literal["text", "json"] = flag(
        "text", "Lines for people or for machines.", kind=click.Choice(["text", "json"])
    )
    verbose: bool = flag(False, "Log what is of interest when looking for a fault.")
    show_startup_logs: bool = flag(True, "Say at the start what is served, and where.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    heading: ClassVar[str] = "Metrics"

    metrics: bool = flag(False, "Show metrics for Prometheus.")
    metrics_path: str = flag("/metrics", "Path of the metrics.", metavar="PATH")
    metrics_host: str = flag("127.0.0.1", "Address for the metrics alone, with --metrics-port.")
    metrics_port: int = flag(
        0, "Port for the metrics alone; 0 shows them where uploads are served.", kind=click.IntRange(0, 65535)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command was told. Picklable: every worker process gets a copy."""

    listening: Listening = field(default_factory=Listening)
    tls: Tls = field(default_factory=Tls)
    location: Location = field(default_factory=Location)
    uploads: Uploads = field(default_factory=Uploads)
    caps: Caps = field(default_factory=Caps)
    cross_origin: CrossOrigin = field(default_factory=CrossOrigin)
    files: Files = field(default_factory=Files)
    s3: S3 = field(default_factory=S3)
    gcs: Gcs = field(default_factory=Gcs)
    azure: Azure = field(default_factory=Azure)
    space: Space = field(default_factory=Space)
    locks: Locks = field(default_factory=Locks)
    hook_events: HookEvents = field(default_factory=HookEvents)
    command_hook: CommandHook = field(default_factory=CommandHook)
    http_hook: HttpHook = field(default_factory=HttpHook)
    grpc_hook: GrpcHook = field(default_factory=GrpcHook)
    plugin_hook: PluginHook = field(default_factory=PluginHook)
    timeouts: Timeouts = field(default_factory=Timeouts)
    metrics: Metrics = field(default_factory=Metrics)
    logs: Logs = field(default_factory=Logs)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Settings:
        """Settings from parsed flags, by name."""
        return cls(**{name: pick(group, values) for name, group in _groups()})


def all_options() -> Iterator[click.Option]:
    """One option for each flag, in the order of --help."""
    for _, group in _groups():
        yield from options(group)


def _groups() -> Iterator[tuple[str, type[Any]]]:
    for each in fields(Settings):
        yield each.name, each.default_factory  # type: ignore[misc]  # every field has one: its group
