"""A client of the engine itself: no server, no socket. The same request runs under run_sync, asyncio and trio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import anyio
import anyio.lowlevel

from tuspy_server import Composer, Config, Hooks, MemoryStore, Request
from tuspy_server.callers import InlineCaller, LoopCaller, run_sync
from tuspy_server.engine import Buffered, Engine, Reply
from tuspy_server.engine.body import Body
from tuspy_server.engine.sweeping import Swept, sweep
from tuspy_server.interfaces import DataStore
from tuspy_server.models import Headers
from tuspy_server.runtime import Runtime

Runner = Literal["run_sync", "asyncio", "trio"]
APPEND = {"Content-Type": "application/offset+octet-stream"}


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class PatientCaller(InlineCaller):
    """Waiting moves the fake clock instead of sleeping."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        self._clock.seconds += seconds


class PatientLoopCaller(LoopCaller):
    """Waiting moves the fake clock; other tasks still get their turn."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        self._clock.seconds += seconds
        await anyio.lowlevel.checkpoint()


@dataclass
class Answer:
    """A response as a client sees it. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reply: Reply

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    @property
    def offset(self) -> int:
        return int(self["upload-offset"])

    @property
    def id(self) -> str:
        return self["location"].rpartition("/")[2]


@dataclass
class EngineClient:
    """Sends tus requests to an engine and returns its answers, hooks and deferred steps included."""

    store: DataStore | Composer = field(default_factory=MemoryStore)
    config: Config = field(default_factory=Config)
    hooks: Hooks = field(default_factory=Hooks)
    runner: Runner = "run_sync"
    clock: FakeClock = field(default_factory=FakeClock)
    crash_after_answer: bool = False
    informed: list[Headers] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.composer = Composer.of(self.store)
        self.restart()

    def restart(self) -> None:
        """A new process on the same store."""
        self.engine = Engine(self.composer, self.config, self.hooks)

    def request(
        self,
        method: str,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | Body = b"",
        *,
        size: int | Literal["auto"] | None = "auto",
        version: str | None = "1.0.0",
    ) -> Answer:
        """One request. `size` is what Content-Length says, None for a chunked body."""
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        if version is not None:
            fields.setdefault("tus-resumable", version)
        if size == "auto":
            size = len(body) if isinstance(body, bytes) else None
        if size is None:
            fields["transfer-encoding"] = "chunked"
        elif size or method in ("POST", "PATCH"):
            fields["content-length"] = str(size)
        request = Request(
            method=method,
            url=f"http://test/{path}",
            path=f"/{path}" if path else "",
            headers=tuple(fields.items()),
            host="test",
        )
        stream = (
            Buffered([body] if body else [], cut=size is not None and len(body) < size)
            if isinstance(body, bytes)
            else body
        )
        return self._answer(self._run(request, stream))

    def _run(self, request: Request, body: Body) -> Reply:
        if self.runner == "run_sync":
            runtime = Runtime(self.composer, PatientCaller(self.clock), self.clock)
            reply = run_sync(self._carry_out(request, body, runtime))
        else:
            caller = PatientLoopCaller(self.clock)
            runtime = Runtime(self.composer, caller, self.clock)
            reply = anyio.run(self._carry_out, request, body, runtime, backend=self.runner)
        return reply

    async def _carry_out(self, request: Request, body: Body, runtime: Runtime) -> Reply:
        reply = await self.engine.carry_out(self.engine.begin(request), body, runtime, self._inform)
        if reply.after is not None and not self.crash_after_answer:
            await reply.after(runtime)
        if reply.download is not None:
            self.downloaded = reply.download.first
            while (piece := await runtime.next_piece(reply.download.rest)) is not None:
                self.downloaded += piece
        return reply

    async def _inform(self, headers: Headers) -> None:
        """A 104 answer, as far as the configuration lets any out."""
        self.informed.append(headers)

    def _answer(self, reply: Reply) -> Answer:
        response = reply.response
        headers = {name.lower(): value for name, value in response.headers}
        body = self.downloaded if reply.download is not None else response.body
        return Answer(response.status, headers, body, reply)

    def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        runtime = Runtime(self.composer, PatientCaller(self.clock), self.clock)
        return run_sync(sweep(self.engine, runtime, dry_run=dry_run))

    # Shorthands

    def create(self, length: int | None = None, body: bytes = b"", **headers: str) -> Answer:
        fields = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        if body:
            fields |= APPEND
        return self.request("POST", "", fields | _named(headers), body)

    def append(self, upload_id: str, offset: int, body: bytes = b"", **headers: str) -> Answer:
        return self.request("PATCH", upload_id, {**APPEND, "Upload-Offset": str(offset), **_named(headers)}, body)

    def head(self, upload_id: str) -> Answer:
        return self.request("HEAD", upload_id)

    def get(self, upload_id: str, **headers: str) -> Answer:
        return self.request("GET", upload_id, _named(headers), version=None)

    def delete(self, upload_id: str) -> Answer:
        return self.request("DELETE", upload_id)

    def part(self, body: bytes) -> str:
        """A finished partial upload; returns its id."""
        return self.create(len(body), body, upload_concat="partial").id

    def final(self, parts: Sequence[str], **headers: str) -> Answer:
        urls = " ".join(f"/{part}" for part in parts)
        return self.request("POST", "", {"Upload-Concat": f"final;{urls}", **_named(headers)})


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
