"""Every flag of `tuspy-server`, in groups as --help shows them. tusd's names where tusd has the same thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import click

from tuspy_server.cli.flags import flag, options, pick
from tuspy_server.cli.values import BASE_PATH, DURATION, MODE, NETWORKS, PATTERN, PRIVATE, SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    heading: ClassVar[str] = "Listening"

    host: str = flag("0.0.0.0", "Address or host name to listen at.")
    port: int = flag(8080, "Port to listen on; 0 picks a free one.", kind=click.IntRange(0, 65535))
    base_path: str = flag("/files/", "URL path at which uploads are created.", kind=BASE_PATH)
    workers: int = flag(1, "Processes that share the port.", kind=click.IntRange(1, 1024))
    show_greeting: bool = flag(True, "Answer GET / with a short text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    heading: ClassVar[str] = "Behind a proxy"

    behind_proxy: bool = flag(False, "Believe Forwarded and X-Forwarded-* fields of trusted proxies.")
    trusted_proxies: tuple[str, ...] = flag(
        (PRIVATE,),
        "Proxies to trust with --behind-proxy: addresses and networks separated by commas; private is this host and "
        "private networks, * is everybody.",
        kind=NETWORKS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    heading: ClassVar[str] = "Uploads"

    max_size: int = flag(0, "Largest upload, as 500MB or 5GiB; 0 is no limit.", kind=SIZE)
    expires_after: float = flag(0.0, "Remove unfinished uploads after this time, as 24h; 0 is never.", kind=DURATION)
    sliding: bool = flag(False, "Let every byte received restart the time of --expires-after.")
    sweep_interval: float = flag(
        600.0, "How often expired uploads are removed and interrupted finishes taken up; 0 is never.", kind=DURATION
    )
    disable_download: bool = flag(False, "Do not serve what was uploaded.")
    disable_termination: bool = flag(False, "Do not let clients delete uploads.")
    disable_concatenation: bool = flag(False, "Do not let clients join uploads.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    heading: ClassVar[str] = "File storage"

    upload_dir: str = flag("./data", "Directory of the uploads; made if missing.", metavar="DIRECTORY")
    durability: Literal["none", "finish", "always"] = flag(
        "finish",
        "What survives a power loss: nothing for sure, finished uploads, or every byte a client was told of.",
        kind=click.Choice(["none", "finish", "always"]),
    )
    locker: Literal["file", "memory"] = flag(
        "file",
        "How requests for one upload exclude each other; memory is for one process.",
        kind=click.Choice(["file", "memory"]),
    )
    dir_perms: int = flag(0o775, "Permissions of directories, octal, subject to the umask.", kind=MODE)
    file_perms: int = flag(0o664, "Permissions of files, octal, subject to the umask.", kind=MODE)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    heading: ClassVar[str] = "Timeouts"

    network_timeout: float = flag(60.0, "How long a client may be silent in the middle of a request.", kind=DURATION)
    acquire_lock_timeout: float = flag(20.0, "How long a request waits for an upload in use.", kind=DURATION)
    shutdown_timeout: float = flag(10.0, "How long requests may take to end after SIGTERM.", kind=DURATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    heading: ClassVar[str] = "Logs"

    log_format: Literal["text", "json"] = flag(
        "text", "Lines for people or for machines.", kind=click.Choice(["text", "json"])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command was told. Picklable: every worker process gets a copy."""

    listening: Listening = field(default_factory=Listening)
    proxy: Proxy = field(default_factory=Proxy)
    uploads: Uploads = field(default_factory=Uploads)
    files: Files = field(default_factory=Files)
    cross_origin: CrossOrigin = field(default_factory=CrossOrigin)
    timeouts: Timeouts = field(default_factory=Timeouts)
    logging: Logging = field(default_factory=Logging)

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
