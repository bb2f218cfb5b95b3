"""HTTP/1.1 over a raw socket: a client that can stop, reset, lie about lengths, and look at every byte."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

APPEND = {"Content-Type": "application/offset+octet-stream"}


@dataclass
class WireAnswer:
    """One response. Header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    @property
    def offset(self) -> int:
        return int(self["upload-offset"])


@dataclass
class Wire:
    """One connection to a server on the loopback address."""

    port: int
    timeout: float = 15.0
    _sock: socket.socket = field(init=False, repr=False)
    _buffer: bytes = field(init=False, default=b"", repr=False)

    def __post_init__(self) -> None:
        self._sock = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def send_head(self, method: str, target: str, headers: Mapping[str, str] | None = None) -> None:
        """The request line and fields, not the body. An absolute URL is reduced to its path."""
        path = urlsplit(target).path if "://" in target else target
        lines = [f"{method} {path} HTTP/1.1"]
        fields = {"Host": f"127.0.0.1:{self.port}", "Tus-Resumable": "1.0.0", **(headers or {})}
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def send_chunk(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def receive(self, *, head: bool = False) -> WireAnswer:
        """The next response, interim ones included."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status_line, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        answer = WireAnswer(int(status_line.split()[1]), headers)
        if not head and answer.status >= 200 and answer.status not in (204, 304):
            answer.body = self._read_body(headers)
        return answer

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                while b"\r\n" not in self._buffer:
                    self._fill()
                size, _, self._buffer = self._buffer.partition(b"\r\n")
                piece = self._take(int(size, 16) + 2)[:-2]
                if not piece:
                    return body
                body += piece
        if "content-length" in headers:
            return self._take(int(headers["content-length"]))
        body, self._buffer = self._buffer, b""
        while data := self._sock.recv(65536):
            body += data
        return body

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        data = self._sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> WireAnswer:
        fields = dict(headers or {})
        if body or method in ("POST", "PATCH"):
            fields.setdefault("Content-Length", str(len(body)))
        self.send_head(method, target, fields)
        if body:
            self.send(body)
        return self.receive(head=method == "HEAD")

    def rest(self) -> bytes:
        """Whatever comes until the server closes the connection."""
        data, self._buffer = self._buffer, b""
        while more := self._sock.recv(1 << 16):
            data += more
        return data

    def wait_at_most(self, seconds: float) -> None:
        """From now on a silent server is a TimeoutError after so long."""
        self._sock.settimeout(seconds)

    def finish(self) -> None:
        """Close in good order (FIN)."""
        self._sock.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # the connection was refused
            self._sock.close()

    def reset(self) -> None:
        """Close with a reset (RST)."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


@dataclass
class WireClient:
    """Sends each request on a connection of its own."""

    port: int
    base: str = "/files"

    @contextmanager
    def connected(self) -> Iterator[Wire]:
        wire = Wire(self.port)
        try:
            yield wire
        finally:
            wire.finish()

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> WireAnswer:
        with self.connected() as wire:
            return wire.request(method, target, headers, body)

    def create(self, length: int | None, body: bytes = b"", **headers: str) -> str:
        """A new upload; returns the path of its URL."""
        fields = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        if body:
            fields |= APPEND
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.request("POST", self.base, fields, body)
        assert answer.status == 201, answer
        return urlsplit(answer["location"]).path

    def append(self, target: str, offset: int, body: bytes) -> WireAnswer:
        return self.request("PATCH", target, {**APPEND, "Upload-Offset": str(offset)}, body)

    def head(self, target: str) -> WireAnswer:
        return self.request("HEAD", target)

    def offset(self, target: str) -> int:
        answer = self.head(target)
        assert answer.status == 200, answer
        return answer.offset

    def get(self, target: str) -> WireAnswer:
        return self.request("GET", target)

    def begin_append(self, target: str, offset: int, size: int | None, body: bytes = b"") -> Wire:
        """A PATCH of `size` bytes (None: chunked) of which only `body` has been sent so far."""
        wire = Wire(self.port)
        framing = {"Transfer-Encoding": "chunked"} if size is None else {"Content-Length": str(size)}
        wire.send_head("PATCH", target, {**APPEND, "Upload-Offset": str(offset), **framing})
        if body:
            wire.send(body) if size is not None else wire.send_chunk(body)
        return wire


def eventually(check: object, within: float = 5.0) -> None:
    """Wait until a condition holds, asked again and again; fail with its last answer otherwise."""
    assert callable(check)
    deadline = time.monotonic() + within
    while not (last := check()):
        assert time.monotonic() < deadline, f"still {last!r} after {within} s"
        time.sleep(0.01)
