"""The load generator without a compiler: the options and the answer of load.c, one thread per connection.

Good for large bodies; for small ones it is likely to be slower than the server, and its CPU figures alone count.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.benchmarks.stats import percentile

_SLOW_SIZE = 64 << 20
_SLOW_PIECE = 256
_FIRST = 65536
_TYPE = "Content-Type: application/offset+octet-stream\r\n"


class Unexpected(Exception):
    """An answer that a correct server would not give."""


@dataclass(slots=True)
class Totals:
    latencies: list[float] = field(default_factory=list)
    taken: int = 0
    uploads: int = 0
    bytes: int = 0
    errors: list[str] = field(default_factory=list)
    reconnects: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: dict[str, str]
    size: int


class Connection:
    """One keep-alive connection. Raises Unexpected for an answer outside 2xx, OSError for a lost connection."""

    def __init__(self, options: argparse.Namespace, pattern: bytes, totals: Totals) -> None:
        self.options = options
        self.pattern = pattern
        self.totals = totals
        self.socket: socket.socket | None = None
        self.input = b""

    def send_head(self, method: str, url: str, fields: str, size: int, first: bytes) -> socket.socket:
        """Announce a body of `size` bytes and send its `first` ones along."""
        if self.socket is None:
            self.socket = socket.create_connection((self.options.host, self.options.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.input = b""
        length = f"Content-Length: {size}\r\n" if size or method == "POST" else ""
        head = f"{method} {url} HTTP/1.1\r\nHost: {self.options.host}\r\nTus-Resumable: 1.0.0\r\n{fields}{length}\r\n"
        self.socket.sendall(head.encode() + first)
        return self.socket

    def ask(self, method: str, url: str, fields: str = "", size: int = 0) -> Answer:
        started = time.monotonic()
        view = memoryview(self.pattern)
        sent = min(size, _FIRST)
        connection = self.send_head(method, url, fields, size, self.pattern[:sent])
        while sent < size:
            at = sent % len(view)
            sent += connection.send(view[at : at + size - sent])
        answer = self.read_answer(method)
        self.totals.latencies.append(time.monotonic() - started)
        if not 200 <= answer.status <= 299:
            raise Unexpected(f"status {answer.status}")
        return answer

    def read_answer(self, method: str) -> Answer:
        while b"\r\n\r\n" not in self.input:
            self.input += self.receive()
        head, _, self.input = self.input.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        if status < 200:
            return self.read_answer(method)
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = 0 if method == "HEAD" or status == 204 else int(fields.get("content-length", 0))
        self.skip(size)
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, fields, size)

    def skip(self, size: int) -> None:
        while len(self.input) < size:
            size -= len(self.input)
            self.input = self.receive()
        self.input = self.input[size:]

    def receive(self) -> bytes:
        assert self.socket is not None
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise ConnectionResetError("connection lost")
        return piece

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None
            self.totals.reconnects += 1


class Client:
    """Carries out uploads on one connection until none is left."""

    def __init__(self, options: argparse.Namespace, pattern: bytes, totals: Totals) -> None:
        self.options = options
        self.totals = totals
        self.connection = Connection(options, pattern, totals)
        self.created: str | None = None

    def create(self, size: int, with_upload: bool) -> str:
        fields = f"Upload-Length: {size}\r\nUpload-Metadata: filename YmVuY2gudHh0,filetype dGV4dC9wbGFpbg==\r\n"
        if with_upload:
            fields += _TYPE + self.options.header
        answer = self.connection.ask("POST", self.options.path, fields, size if with_upload else 0)
        if answer.status != 201:
            raise Unexpected(f"create answered {answer.status}")
        return urlsplit(answer.fields["location"]).path

    def append(self, url: str, offset: int, stop: int) -> None:
        while offset < stop:
            size = min(self.options.chunk or stop, stop - offset)
            fields = f"Upload-Offset: {offset}\r\n{_TYPE}{self.options.header}"
            answer = self.connection.ask("PATCH", url, fields, size)
            offset += size
            if answer.fields.get("upload-offset") != str(offset):
                raise Unexpected("wrong offset after patch")
            self.totals.bytes += size

    def upload(self) -> None:
        options = self.options
        url = self.created or self.create(options.size, options.with_upload)
        self.created = None
        if options.with_upload:
            self.totals.bytes += options.size
        else:
            self.append(url, 0, options.size)
        if options.head and self.connection.ask("HEAD", url).fields.get("upload-offset") != str(options.size):
            raise Unexpected("wrong offset in head")

    def fetch(self, serial: int) -> None:
        fields = ""
        if self.options.range:
            start = serial * 7919 % max(self.options.size // self.options.range, 1) * self.options.range
            fields = f"Range: bytes={start}-{start + self.options.range - 1}\r\n"
        self.totals.bytes += self.connection.ask("GET", self.options.path, fields).size

    def one(self, serial: int) -> None:
        options = self.options
        if options.mode == "append":
            self.append(options.path, options.offset, options.offset + options.size)
        elif options.mode == "get":
            self.fetch(serial)
        elif options.mode == "put":
            self.connection.ask("PUT", f"{options.path}put-{serial}", "", options.size)
            self.totals.bytes += options.size
        else:
            self.upload()

    def run(self) -> None:
        while len(self.totals.errors) < 100:
            with self.totals.lock:
                serial = self.totals.taken
                if serial >= self.options.uploads:
                    return
                self.totals.taken += 1
            try:
                self.one(serial)
                self.totals.uploads += 1
            except (Unexpected, OSError) as error:
                self.totals.errors.append(str(error))
                self.connection.close()


class SlowClients:
    """Uploads that never end, a few bytes each per interval."""

    def __init__(self, options: argparse.Namespace, pattern: bytes) -> None:
        self.interval: float = options.slow_interval
        self.piece = pattern[:_SLOW_PIECE]
        self.sent = 0
        self.sockets: list[socket.socket] = []
        self.stop = threading.Event()
        for _ in range(options.slow):
            client = Client(options, pattern, Totals())
            url = client.create(_SLOW_SIZE, with_upload=False)
            connection = client.connection.send_head("PATCH", url, f"Upload-Offset: 0\r\n{_TYPE}", _SLOW_SIZE, b"")
            self.sockets.append(connection)

    def run(self) -> None:
        while not self.stop.wait(self.interval):
            for connection in list(self.sockets):
                try:
                    self.sent += connection.send(self.piece, socket.MSG_DONTWAIT)
                except OSError:
                    self.sockets.remove(connection)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--path", default="/files/")
    parser.add_argument("--mode", choices=["tus", "put", "get", "append"], default="tus")
    for name, default in [("port", 0), ("connections", 1), ("uploads", 1), ("size", 0), ("chunk", 0), ("offset", 0)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--range", type=int, default=0)
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--slow-interval", type=float, default=1.0)
    parser.add_argument("--deadline", type=float, default=300.0)
    parser.add_argument("--header", default="")
    parser.add_argument("--body", required=True)
    for name in ("with-upload", "head", "create-first"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args(arguments)
    if options.header:
        options.header += "\r\n"
    return options


def main() -> None:
    options = parse()
    with open(options.body, "rb") as body:
        pattern = body.read()
    totals = Totals()
    clients = [Client(options, pattern, totals) for _ in range(options.connections)]
    if options.create_first:
        totals.taken = len(clients)
        for client in clients:
            client.created = client.create(options.size, with_upload=False)
        totals.taken = 0
    slow = SlowClients(options, pattern)
    print("ready", flush=True)
    sys.stdin.readline()
    totals.latencies.clear()
    threads = [threading.Thread(target=client.run) for client in clients]
    trickle = threading.Thread(target=slow.run)
    started = time.monotonic()
    for thread in [*threads, trickle]:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - started
    slow.stop.set()
    trickle.join()
    print(json.dumps(answer(totals, slow, wall)))


def answer(totals: Totals, slow: SlowClients, wall: float) -> dict[str, float | int | str]:
    times = totals.latencies
    return {
        "wall": wall,
        "requests": len(times),
        "uploads": totals.uploads,
        "bytes": totals.bytes,
        "errors": len(totals.errors),
        "error": totals.errors[0] if totals.errors else "",
        "reconnects": totals.reconnects,
        "mean": sum(times) / len(times) if times else 0.0,
        "p50": percentile(times, 0.5),
        "p90": percentile(times, 0.9),
        "p99": percentile(times, 0.99),
        "max": percentile(times, 1.0),
        "slow_alive": len(slow.sockets),
        "slow_bytes": slow.sent,
    }


if __name__ == "__main__":
    main()
