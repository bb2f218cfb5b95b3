"""Drives the applications in process, without a server, so that what they do can be counted exactly.

`python -m tests.benchmarks.driver asgi small 40` prints one JSON object of counts per unit (a request, or a MiB);
counts.py runs it under strace too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import anyio.to_thread

Buffer = bytes | bytearray | memoryview

SMALL = 16 << 10
LARGE = 32 << 20
PIECE = 256_000
_TYPE = "application/offset+octet-stream"
_WARM_UP = 3
_LEAST_COUNTED = 4096
_PACKAGE = str(Path(__file__).parent.parent.parent / "tuspy_server") + os.sep


class Copies:
    """Bytes of bodies that reached a file from another object than the one that was delivered to the application.

    Wraps the write functions of `os`; must exist before the package is imported.
    """

    def __init__(self) -> None:
        self.delivered: set[int] = set()
        self.copied = 0
        self._wrap("write", lambda buffer: [buffer])
        self._wrap("pwrite", lambda buffer: [buffer])
        self._wrap("writev", list)
        self._wrap("pwritev", list)

    def _wrap(self, name: str, pieces: Callable[[Any], list[Buffer]]) -> None:
        original = getattr(os, name, None)
        if original is None:
            return

        def wrapper(fd: int, data: Any, /, *more: Any) -> int:
            for piece in pieces(data):
                self._note(piece)
            written: int = original(fd, data, *more)
            return written

        setattr(os, name, wrapper)

    def _note(self, piece: Buffer) -> None:
        size = len(piece)
        whole = piece.obj if isinstance(piece, memoryview) else piece
        if size >= _LEAST_COUNTED and id(whole) not in self.delivered:
            self.copied += size


class Calls:
    """Python and C calls in all threads, those of the package apart, and hops into worker threads.

    A coroutine counts again each time it is resumed. Must exist before the package is imported.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        original = anyio.to_thread.run_sync

        async def run_sync(*args: Any, **kwargs: Any) -> Any:
            self.counts["hops"] += 1
            return await original(*args, **kwargs)

        anyio.to_thread.run_sync = run_sync  # type: ignore[assignment]  # counts what it calls

    def start(self) -> None:
        threading.setprofile(self._event)
        sys.setprofile(self._event)

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _event(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.counts["calls"] += 1
            if frame.f_code.co_filename.startswith(_PACKAGE):
                self.counts["package_calls"] += 1
        elif event == "c_call":
            self.counts["calls"] += 1


class AsgiDriver:
    """Requests to the ASGI application, on the running event loop."""

    def __init__(self, copies: Copies) -> None:
        from tests.benchmarks.apps import asgi

        self.app: Any = asgi()
        self.copies = copies

    async def request(self, method: str, path: str, fields: dict[str, str], body: Sequence[bytes]) -> dict[str, str]:
        pieces = list(body)
        self.copies.delivered.update(map(id, pieces))
        sent: list[dict[str, Any]] = []
        messages = iter(pieces)
        left = len(pieces)

        async def receive() -> dict[str, Any]:
            nonlocal left
            left -= 1
            if left < -1:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": next(messages, b""), "more_body": left > 0}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(_scope(method, path, fields), receive, send)
        self.copies.delivered.clear()
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return {**headers, ":status": str(sent[0]["status"])}


def _scope(method: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "root_path": "",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
        "state": {},
    }


class Source:
    """wsgi.input over pieces that are handed out whole where the reader asks for enough."""

    def __init__(self, size: int, copies: Copies) -> None:
        self.left = size
        self.copies = copies
        self.kept: list[bytes] = []

    def read(self, size: int = -1) -> bytes:
        piece = bytes(self.left if size < 0 else min(size, self.left))
        self.left -= len(piece)
        self.kept.append(piece)
        self.copies.delivered.add(id(piece))
        return piece


class WsgiDriver:
    """Requests to the WSGI application: coroutines in form only, they never suspend."""

    def __init__(self, copies: Copies) -> None:
        from tests.benchmarks.apps import wsgi

        self.app: Any = wsgi()
        self.copies = copies

    async def request(self, method: str, path: str, fields: dict[str, str], body: Sequence[bytes]) -> dict[str, str]:
        answer: dict[str, str] = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
            answer.update({name.lower(): value for name, value in headers})
            answer[":status"] = status.split()[0]

        source = Source(sum(map(len, body)), self.copies)
        pieces = self.app(_environ(method, path, fields, source), start_response)
        b"".join(pieces)
        if hasattr(pieces, "close"):
            pieces.close()
        self.copies.delivered.clear()
        return answer


def _environ(method: str, path: str, fields: dict[str, str], source: Source) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": source,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in fields.items():
        key = name.upper().replace("-", "_")
        environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value
    return environ


Driver = AsgiDriver | WsgiDriver


async def small(driver: Driver) -> float:
    """One 16 KiB creation-with-upload; one unit."""
    fields = {**_fields(SMALL), "Upload-Length": str(SMALL), "Upload-Metadata": "filename YmVuY2gudHh0"}
    _expect(await driver.request("POST", "/files/", fields, [bytes(SMALL)]), "201", SMALL)
    return 1.0


async def large(driver: Driver) -> float:
    """One 32 MiB PATCH in the pieces of a server; as many units as MiB. The POST before it is counted with it."""
    created = await driver.request("POST", "/files/", {**_fields(0), "Upload-Length": str(LARGE)}, [])
    path = "/files/" + created["location"].rpartition("/")[2]
    pieces = [bytes(min(PIECE, LARGE - at)) for at in range(0, LARGE, PIECE)]
    _expect(await driver.request("PATCH", path, {**_fields(LARGE), "Upload-Offset": "0"}, pieces), "204", LARGE)
    return LARGE / (1 << 20)


def _stop_the_clock(colour: str) -> None:
    """Leave nothing to time: no batch grows old, no read is slow, nobody watches a lock for rivals.

    Whether small requests run on the loop depends on the clock too; here "inline" ones always do, others never.
    """
    from tuspy_server.gauge import Gauge
    from tuspy_server.lockers.worker import Worker

    now = time.monotonic()
    time.monotonic = lambda: now
    Worker.wake = lambda self: None  # type: ignore[method-assign]  # its threads would be counted by chance
    Gauge.is_fast = property(lambda self: colour == "inline")  # type: ignore[assignment,method-assign]  # not by time


def _fields(size: int) -> dict[str, str]:
    kind = {"Content-Type": _TYPE} if size else {}
    return {"Host": "127.0.0.1:8000", "Tus-Resumable": "1.0.0", "Content-Length": str(size), **kind}


def _expect(answer: dict[str, str], status: str, offset: int) -> None:
    if answer[":status"] != status or answer.get("upload-offset", str(offset)) != str(offset):
        raise RuntimeError(f"the application answered {answer}")


SCENARIOS: dict[str, Callable[[Driver], Awaitable[float]]] = {"small": small, "large": large}
COLOURS: dict[str, Callable[[Copies], Driver]] = {"asgi": AsgiDriver, "inline": AsgiDriver, "wsgi": WsgiDriver}


async def count(colour: str, scenario: str, repeats: int, copies: Copies, calls: Calls | None) -> dict[str, float]:
    """Counts per unit after warming up; without `calls` only the requests are made, for strace."""
    _stop_the_clock(colour)
    driver = COLOURS[colour](copies)
    run = SCENARIOS[scenario]
    for _ in range(_WARM_UP):
        await small(driver)
    await run(driver)
    counts: Counter[str] = Counter()
    if calls is not None:
        calls.counts = counts
    copies.copied = 0
    units = 0.0
    for _ in range(repeats):
        units += await run(driver)
    found = {"hops": 0, "package_calls": 0, "calls": 0, **counts, "bytes_copied": copies.copied}
    return {name: value / units for name, value in found.items()}


def main() -> None:
    """The directory comes from BENCH_DIRECTORY; what is left in it is the caller's to remove, uncounted."""
    colour, scenario, repeats, *options = sys.argv[1:]
    copies = Copies()
    calls = Calls() if "--profile" in options else None
    from tuspy_server.callers import run_sync

    if calls is not None:
        calls.start()
    counting = count(colour, scenario, int(repeats), copies, calls)
    found = run_sync(counting) if colour == "wsgi" else asyncio.run(counting)
    if calls is not None:
        calls.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
