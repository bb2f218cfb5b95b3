"""What is measured: each scenario is one or more cases, each case one run of the load generator against one server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.servers import (
    CHECKSUM,
    DOWNLOAD,
    DURABILITY,
    HEAD_COMPLETE,
    MANY_CLIENTS,
    PLAIN_FILES,
    WITH_UPLOAD,
    Place,
    Server,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_SMALL = 16 * KIB
_FOOTPRINT = _SMALL + 8 * KIB
_CHUNK = 8 * MIB
_FAR = 100 * GIB
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running server with the file that bodies are made of."""

    server: Server
    place: Place
    body: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Arguments for the load generator, how many units (GiB or requests) they come to, and the bytes they store.

    `puts` holds the arguments for a server that knows PUT only, None where PUT cannot express the case.
    """

    arguments: list[str]
    amount: float
    stored: int = 0
    puts: list[str] | None = None


Prepare = Callable[[Target, float], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to measure. `needs` are server features; `on_disk` wants a real file system under the files."""

    name: str
    scenario: str
    title: str
    unit: str
    prepare: Prepare
    needs: frozenset[str] = frozenset()
    durability: str = "none"
    on_disk: bool = False
    puts: bool = False

    def suits(self, server: Server) -> bool:
        """Whether the server can do this at all."""
        return self.needs <= server.features and (self.puts or not server.puts)


def _count(number: int, scale: float, least: int = 1) -> int:
    return max(least, int(number * scale))


def _blocks(size: int, scale: float, block: int = _CHUNK) -> int:
    return _count(size // block, scale) * block


def _large(size: int, chunk: int) -> Prepare:
    def prepare(target: Target, scale: float) -> Plan:
        total = _blocks(size, scale)
        sizes = ["--size", str(total)]
        return Plan(
            arguments=["--create-first", *sizes, "--chunk", str(chunk)],
            amount=total / GIB,
            stored=total,
            puts=["--mode", "put", *sizes],
        )

    return prepare


def _small(connections: int, number: int) -> Prepare:
    def prepare(target: Target, scale: float) -> Plan:
        uploads = _count(number, scale, connections)
        common = ["--connections", str(connections), "--uploads", str(uploads), "--size", str(_SMALL)]
        return Plan(
            arguments=["--with-upload", *common],
            amount=uploads,
            stored=uploads * _FOOTPRINT,
            puts=["--mode", "put", *common],
        )

    return prepare


def _cycle(number: int, existing: Callable[[float], int] | None = None) -> Prepare:
    def prepare(target: Target, scale: float) -> Plan:
        if existing is not None:
            crowd(target, existing(scale))
        uploads = _count(number, scale, 16)
        sizes = ["--connections", "16", "--uploads", str(uploads), "--size", str(_SMALL)]
        return Plan(arguments=["--head", *sizes], amount=uploads, stored=uploads * _FOOTPRINT)

    return prepare


def _parallel(target: Target, scale: float) -> Plan:
    size = _blocks(32 * MIB, scale, MIB)
    common = ["--connections", "64", "--uploads", "64", "--size", str(size)]
    return Plan(arguments=common, amount=64 * size / GIB, stored=64 * size, puts=["--mode", "put", *common])


def _slow(clients: int) -> Prepare:
    def prepare(target: Target, scale: float) -> Plan:
        plan = _large(GIB, 0)(target, scale)
        return replace(plan, arguments=[*plan.arguments, "--slow", str(int(clients * scale))])

    return prepare


def _download_whole(target: Target, scale: float) -> Plan:
    size = _blocks(256 * MIB, scale, MIB)
    path = upload(target, size)
    return Plan(
        arguments=["--mode", "get", "--path", path, "--uploads", "4", "--size", str(size)], amount=4 * size / GIB
    )


def _download_ranged(target: Target, scale: float) -> Plan:
    size = _blocks(64 * MIB, scale, MIB)
    path = upload(target, size)
    requests = _count(2000, scale, 16)
    common = ["--mode", "get", "--path", path, "--size", str(size), "--range", str(64 * KIB)]
    return Plan(arguments=[*common, "--connections", "16", "--uploads", str(requests)], amount=requests)


def _checksum(algorithm: str) -> Prepare:
    def prepare(target: Target, scale: float) -> Plan:
        digest = hashlib.new(algorithm, target.body.read_bytes() * (_CHUNK // _BLOCK)).digest()
        header = f"Upload-Checksum: {algorithm} {base64.b64encode(digest).decode()}"
        plan = _large(GIB, _CHUNK)(target, scale)
        return replace(plan, arguments=[*plan.arguments, "--header", header])

    return prepare


def _appends_from(offset: int) -> Prepare:
    def prepare(target: Target, scale: float) -> Plan:
        number = _count(2000, scale, 16)
        path = create(target, offset + number * _SMALL)
        if offset:
            os.truncate(data_file(target, path), offset)
        sizes = ["--size", str(number * _SMALL), "--chunk", str(_SMALL)]
        return Plan(
            arguments=["--mode", "append", "--path", path, "--offset", str(offset), *sizes],
            amount=number,
            stored=number * _SMALL,
        )

    return prepare


def _connect(target: Target) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", target.place.port, timeout=60)


def create(target: Target, length: int) -> str:
    """A new empty upload; the path of its URL."""
    connection = _connect(target)
    connection.request("POST", target.server.path, headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(length)})
    answer = connection.getresponse()
    location = answer.headers.get("Location", "")
    connection.close()
    if answer.status != 201:
        raise RuntimeError(f"POST was answered {answer.status}")
    return urlsplit(location).path


def upload(target: Target, size: int) -> str:
    """A complete upload of `size` bytes, whole blocks of the body file; the path of its URL."""
    path = create(target, size)
    connection = _connect(target)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    headers["Content-Length"] = str(size)
    block = target.body.read_bytes()
    connection.request("PATCH", path, body=(block for _ in range(size // len(block))), headers=headers)
    answer = connection.getresponse()
    connection.close()
    if answer.status != 204:
        raise RuntimeError(f"PATCH was answered {answer.status}")
    return path


def data_file(target: Target, path: str) -> Path:
    """The file that holds the bytes of the upload at `path`."""
    name = path.rpartition("/")[2]
    return next(found for found in target.place.directory.rglob(name) if found.is_file())


def crowd(target: Target, number: int) -> None:
    """Put `number` more uploads into the directory: hard links to everything one new upload consists of."""
    name = create(target, 1).rpartition("/")[2]
    files = list(_files_of(target.place.directory, name))
    for serial in range(number):
        twin = f"{serial:0{len(name)}x}"
        for found in files:
            os.link(found, found.with_name(found.name.replace(name, twin)))


def _files_of(directory: Path, name: str) -> Iterator[Path]:
    return (found for found in directory.rglob(f"*{name}*") if found.is_file())


def _durability_cases() -> Iterator[Case]:
    for level in ("none", "finish", "always"):
        small = Case(
            name=f"durability/{level}/small",
            scenario="durability",
            title=f"16 KiB creation-with-upload, durability {level}",
            unit="request",
            prepare=_small(16, 500),
            needs=frozenset({DURABILITY}),
            durability=level,
            on_disk=True,
        )
        yield small
        yield replace(
            small,
            name=f"durability/{level}/chunks",
            title=f"8 MiB PATCHes, durability {level}",
            unit="GiB",
            prepare=_large(256 * MIB, _CHUNK),
        )


_LIVE = frozenset({HEAD_COMPLETE})
_FILES = frozenset({HEAD_COMPLETE, PLAIN_FILES})

CASES: tuple[Case, ...] = (
    Case(name="large", scenario="large", title="1 GiB in one PATCH", unit="GiB", prepare=_large(GIB, 0), puts=True),
    Case(name="chunks", scenario="chunks", title="8 MiB PATCHes", unit="GiB", prepare=_large(GIB, _CHUNK)),
    Case(
        name="small16",
        scenario="small16",
        title="16 KiB creation-with-upload, 16 connections",
        unit="request",
        prepare=_small(16, 4000),
        needs=frozenset({WITH_UPLOAD}),
        puts=True,
    ),
    Case(
        name="small64",
        scenario="small64",
        title="16 KiB creation-with-upload, 64 connections",
        unit="request",
        prepare=_small(64, 4000),
        needs=frozenset({WITH_UPLOAD}),
        puts=True,
    ),
    Case(
        name="cycle",
        scenario="cycle",
        title="POST, PATCH 16 KiB, HEAD",
        unit="cycle",
        prepare=_cycle(2000),
        needs=_LIVE,
    ),
    Case(
        name="parallel",
        scenario="parallel",
        title="64 uploads of 32 MiB at once",
        unit="GiB",
        prepare=_parallel,
        puts=True,
    ),
    Case(
        name="slow/alone",
        scenario="slow",
        title="a fast client alone, 1 GiB",
        unit="GiB",
        prepare=_slow(0),
        needs=frozenset({MANY_CLIENTS}),
    ),
    Case(
        name="slow/beside",
        scenario="slow",
        title="a fast client beside 1000 slow ones, 1 GiB",
        unit="GiB",
        prepare=_slow(1000),
        needs=frozenset({MANY_CLIENTS}),
    ),
    Case(
        name="download/whole",
        scenario="download",
        title="whole downloads of 256 MiB",
        unit="GiB",
        prepare=_download_whole,
        needs=frozenset({DOWNLOAD}),
    ),
    Case(
        name="download/ranged",
        scenario="download",
        title="64 KiB range requests, 16 connections",
        unit="request",
        prepare=_download_ranged,
        needs=frozenset({DOWNLOAD}),
    ),
    *(
        Case(
            name=f"checksum/{algorithm}",
            scenario="checksum",
            title=f"8 MiB PATCHes with a {algorithm} checksum",
            unit="GiB",
            prepare=_checksum(algorithm),
            needs=frozenset({CHECKSUM}),
        )
        for algorithm in ("sha1", "sha256")
    ),
    *_durability_cases(),
    Case(
        name="many/10",
        scenario="many",
        title="POST, PATCH 16 KiB, HEAD among 10 uploads",
        unit="cycle",
        prepare=_cycle(1000, lambda scale: 10),
        needs=_FILES,
    ),
    Case(
        name="many/100000",
        scenario="many",
        title="POST, PATCH 16 KiB, HEAD among 100 000 uploads",
        unit="cycle",
        prepare=_cycle(1000, lambda scale: _count(100_000, scale)),
        needs=_FILES,
    ),
    Case(
        name="deep/0",
        scenario="deep",
        title="16 KiB PATCHes from offset 0",
        unit="request",
        prepare=_appends_from(0),
        needs=frozenset({PLAIN_FILES}),
    ),
    Case(
        name="deep/100GiB",
        scenario="deep",
        title="16 KiB PATCHes from offset 100 GiB (sparse)",
        unit="request",
        prepare=_appends_from(_FAR),
        needs=frozenset({PLAIN_FILES}),
    ),
    Case(
        name="memory", scenario="memory", title="memory of one 300 MiB PATCH", unit="GiB", prepare=_large(304 * MIB, 0)
    ),
)

SCENARIOS: tuple[str, ...] = tuple(dict.fromkeys(case.scenario for case in CASES))


def cases(scenarios: list[str]) -> list[Case]:
    """The cases of the named scenarios, in the table's order. Raises ValueError for an unknown one."""
    unknown = sorted(set(scenarios) - set(SCENARIOS))
    if unknown:
        raise ValueError(f"no scenario is called {unknown[0]!r}; known: {', '.join(SCENARIOS)}")
    return [case for case in CASES if case.scenario in scenarios]
