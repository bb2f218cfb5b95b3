"""An HTTP proxy in front of a real object server: it counts the calls, makes chosen ones fail, and may keep rules
that the server behind it does not."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "proxy-connection"}


class Fault(Enum):
    """What becomes of a call."""

    RESET = "the connection is reset before the server sees the call"
    LOST = "the server acts, the connection is reset instead of an answer"
    ERROR_500 = "500, and the server never saw the call"
    ERROR_503 = "503, and the server never saw the call"
    ERROR_AFTER = "500, although the server acted"
    TIMEOUT = "no answer until the client gives up; the server never sees the call"
    LATE = "no answer until the client gives up; the server acts after that"
    HELD = "no answer until the client gives up; the server acts when the test opens the proxy's gate"


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it goes out."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


Forward: TypeAlias = Callable[[Call], Answer]
Rules: TypeAlias = Callable[[Call, Forward], Answer]
Plan: TypeAlias = Callable[[int, Call], Fault | None]


def no_rules(call: Call, forward: Forward) -> Answer:
    return forward(call)


class Proxy:
    """Listens on a free port of 127.0.0.1 until `stop`. `before` is called with each call ahead of everything.

    `late` is released once for each call that was over, or carried out, after its client had given up.
    """

    def __init__(self, upstream: int, rules: Rules = no_rules) -> None:
        self.upstream = upstream
        self.rules = rules
        self.calls: list[str] = []
        self.before: Callable[[Call], None] = lambda call: None
        self.plan: Plan | None = None
        self.late = threading.Semaphore(0)
        self.gate = threading.Event()
        self._mutex = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def failing(self, plan: Plan) -> Iterator[None]:
        """`plan` decides for each call, counted from 0, whether and how it fails."""
        with self._mutex:
            self.calls.clear()
            self.plan = plan
        try:
            yield
        finally:
            self.plan = None

    @contextmanager
    def failing_once(self, number: int, fault: Fault) -> Iterator[None]:
        """Call `number`, counted from 0, fails."""
        with self.failing(lambda n, call: fault if n == number else None):
            yield

    def fate(self, call: Call) -> Fault | None:
        with self._mutex:
            number = len(self.calls)
            self.calls.append(str(call))
            return self.plan(number, call) if self.plan is not None else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1
        upstream: HTTPConnection | None = None

        def handle_one_request(self) -> None:
            self.close_connection = True
            with suppress(ConnectionError, TimeoutError):
                super().handle_one_request()

        def handle_expect_100(self) -> bool:
            """Answer at once: boto3 waits a second for it before it sends the body of a PUT."""
            going_on = super().handle_expect_100()
            self.wfile.flush()
            return going_on

        def _serve(self) -> None:
            call = Call(self.command, self.path, dict(self.headers.items()), self._body())
            proxy.before(call)
            fault = proxy.fate(call)
            if fault in (Fault.TIMEOUT, Fault.LATE, Fault.HELD):
                self._await_disconnect()
                if fault is Fault.HELD:
                    proxy.gate.wait()
                if fault is not Fault.TIMEOUT:
                    proxy.rules(call, self._forward)
                proxy.late.release()
            elif fault in (Fault.ERROR_500, Fault.ERROR_503):
                self._answer(Answer(500 if fault is Fault.ERROR_500 else 503))
            elif fault is Fault.RESET:
                self._reset()
            else:
                self._act(call, fault)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _serve

        def _act(self, call: Call, fault: Fault | None) -> None:
            answer = proxy.rules(call, self._forward)
            if fault is Fault.LOST:
                self._reset()
            elif fault is Fault.ERROR_AFTER:
                self._answer(Answer(500))
            else:
                self._answer(answer)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _forward(self, call: Call) -> Answer:
            headers = {k: v for k, v in call.headers.items() if k.lower() not in _HOP_BY_HOP}
            headers["Content-Length"] = str(len(call.body))
            for attempt in range(2):
                if self.upstream is None:
                    self.upstream = HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
                try:
                    self.upstream.request(call.method, call.path, call.body, headers)
                    response = self.upstream.getresponse()
                    return Answer(response.status, response.getheaders(), response.read())
                except (ConnectionError, HTTPException):
                    # An idle connection that the server closed; nothing of the call was seen.
                    self.upstream.close()
                    self.upstream = None
                    if attempt:
                        raise
            raise AssertionError

        def _answer(self, answer: Answer) -> None:
            self.close_connection = self.headers.get("Connection", "").lower() == "close"
            self.send_response_only(answer.status)
            length = next((v for k, v in answer.headers if k.lower() == "content-length"), None)
            for name, value in answer.headers:
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            if answer.status not in (204, 304):
                kept = self.command == "HEAD" and length is not None
                self.send_header("Content-Length", length if kept and length else str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            self.wfile.flush()

        def _reset(self) -> None:
            self.close_connection = True
            # Closed for good only when the handler's files are, at once after this: with linger 0 that is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def _await_disconnect(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                while self.connection.recv(65536):
                    pass

        def finish(self) -> None:
            if self.upstream is not None:
                self.upstream.close()
            with suppress(OSError, ValueError):
                super().finish()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
