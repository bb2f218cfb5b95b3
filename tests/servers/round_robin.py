"""A proxy that sends each request to another server than the one before, and cuts connections at random."""

from __future__ import annotations

import itertools
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

_PIECE = 65536
_PATIENCE = 60.0
_RESET = struct.pack("ii", 1, 0)


class RoundRobin:
    """Listens on a free port of 127.0.0.1 until the block ends; one request to a connection.

    Of the connections that `seed` picks, one in `cut_every`, both ends are reset: within the first 2 MiB of the
    request, as often in its first bytes as far behind, or at the first byte of the answer. `sent` counts requests by
    server, `cuts` the connections that were cut.
    """

    def __init__(self, ports: Sequence[int], *, seed: int, cut_every: int = 3) -> None:
        self._turns = itertools.cycle(ports)
        self._random = random.Random(seed)
        self._cut_every = cut_every
        self._mutex = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.sent: Counter[int] = Counter()
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(_PATIENCE)
            head = _head(client)
            if head:
                port, allowance = self._choose()
                with socket.create_connection(("127.0.0.1", port), _PATIENCE) as server:
                    server.sendall(head)
                    self._relay(client, server, allowance)

    def _choose(self) -> tuple[int, float]:
        """The server whose turn it is, and how many bytes may pass."""
        with self._mutex:
            port = next(self._turns)
            self.sent[port] += 1
            cut = self._random.randrange(self._cut_every) == 0
            return port, 2 ** self._random.uniform(0, 21) if cut else float("inf")

    def _relay(self, client: socket.socket, server: socket.socket, allowance: float) -> None:
        passage = _Passage(client, server, allowance)
        upwards = threading.Thread(target=passage.carry_request)
        upwards.start()
        passage.carry_answer()
        if passage.cut:
            with self._mutex:
                self.cuts += 1
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        passage.end()
        upwards.join()


class _Passage:
    """What goes on between a client and a server, up to so many bytes of the request or to the answer."""

    def __init__(self, client: socket.socket, server: socket.socket, allowance: float) -> None:
        self._client = client
        self._server = server
        self._allowance = allowance
        self.cut = False

    def carry_request(self) -> None:
        passed = 0
        with suppress(OSError):
            while piece := self._client.recv(_PIECE):
                passed += len(piece)
                if passed > self._allowance:
                    self.cut = True
                    break
                self._server.sendall(piece)
        self.end()

    def carry_answer(self) -> None:
        with suppress(OSError):
            while piece := self._server.recv(_PIECE):
                if self._allowance < float("inf"):
                    self.cut = True
                    break
                self._client.sendall(piece)

    def end(self) -> None:
        """Wake both directions."""
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)


def _head(client: socket.socket) -> bytes:
    """The request's head, for the only request of its connection, and what came with it; empty if none came."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := client.recv(_PIECE)):
            return b""
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
    return head + b"\r\nConnection: close\r\n\r\n" + rest
