"""Large bodies from uvicorn's socket to a file without passing through Python: the kernel moves them.

uvicorn copies a body three times in user space. Where the connection is plain TCP and nobody but the file wants
the bytes, this takes over the connection's socket for the rest of one body: reading is paused, what the parser
holds already is handed over, the rest goes socket -> pipe -> file by splice(2). Afterwards the parser is replaced,
as it still waits for the body it did not see; a body that was not moved to its end closes the connection.

Reaches into uvicorn's httptools protocol (`cycle`, `flow`, `parser`), which is no public interface: `find` checks
that everything is as it was when this was written and answers None otherwise, which means the normal way.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

_MOVE, _NONBLOCK = 1, 2  # splice(2) flags; os has no names for them before 3.12
_PIPE_SIZE = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ
LOW_WATER = 1 << 20  # bytes to wait for: a hop for less costs more than it moves

_HTTPTOOLS = "uvicorn.protocols.http.httptools_impl"


def find(receive: object, size: int) -> SocketSource | None:
    """The socket that the body of `size` bytes arrives at, if the kernel can move it from there."""
    module = sys.modules.get(_HTTPTOOLS)
    cycle = getattr(receive, "__self__", None)
    if module is None or not hasattr(os, "splice") or type(cycle) is not getattr(module, "RequestResponseCycle", None):
        return None
    transport: Any = getattr(cycle, "transport", None)
    protocol = getattr(transport, "get_protocol", lambda: None)()
    if not isinstance(protocol, module.HttpToolsProtocol) or not _is_as_known(protocol, cycle):
        return None
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None or sock.type != socket.SOCK_STREAM:
        return None
    return SocketSource(protocol, cycle, sock.fileno(), size)


def _is_as_known(protocol: Any, cycle: Any) -> bool:
    needed = {"cycle", "flow", "parser", "loop"} <= set(vars(protocol))
    held = isinstance(getattr(cycle, "body", None), bytearray) and getattr(cycle, "more_body", False) is True
    callbacks = all(callable(getattr(protocol, name, None)) for name in ("on_message_complete", "on_body"))
    return needed and held and callbacks and protocol.cycle is cycle


class SocketSource:
    """The rest of one request body, in its connection's socket. Used on the loop, except for `move`."""

    def __init__(self, protocol: Any, cycle: Any, fd: int, size: int) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._fd = fd
        self._pipe: tuple[int, int] | None = None
        self._loop: asyncio.AbstractEventLoop = protocol.loop
        self.remaining = size

    def begin(self) -> bytes:
        """Take the socket over; returns what the server had read of the body already."""
        self._protocol.flow.pause_reading()
        held, self._cycle.body = bytes(self._cycle.body), bytearray()
        self.remaining -= len(held)
        if self._cycle.waiting_for_100_continue:
            self._cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._cycle.waiting_for_100_continue = False
        self._pipe = os.pipe()
        # A descriptor of our own: the loop does not let others watch its transports' descriptors.
        self._fd = os.dup(self._fd)
        with contextlib.suppress(OSError):  # the system's limit may be lower, which is only slower
            fcntl.fcntl(self._pipe[1], _SET_PIPE_SIZE, _PIPE_SIZE)
        return held

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` once enough has arrived to be worth a move, or the client has gone."""
        self._wait_for(min(LOW_WATER, self.remaining))
        self._loop.add_reader(self._fd, wake)

    def unwatch(self) -> None:
        self._loop.remove_reader(self._fd)

    def has_bytes(self) -> bool:
        """Whether anything has arrived, or the client has gone."""
        waiting: int = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4))[0]
        return waiting > 0

    def move(self, target: int, limit: int) -> tuple[int, bool]:
        """Move at most `limit` bytes that have arrived to the file `target`; never waits for the client.

        Returns how many, and whether the client has gone. Nothing stays in the pipe. Raises OSError of the file.
        """
        assert self._pipe is not None
        out_of, into = self._pipe
        moved = 0
        while moved < limit:
            try:
                size = os.splice(self._fd, into, min(limit - moved, _PIPE_SIZE), flags=_MOVE | _NONBLOCK)
            except BlockingIOError:
                return moved, False
            except OSError:
                return moved, True
            if not size:
                return moved, True
            moved += size
            while size:
                size -= os.splice(out_of, target, size, flags=_MOVE)
        return moved, False

    def end(self) -> None:
        """Give the socket back: for the next request if the body was moved to its end, else to be closed."""
        assert self._pipe is not None
        self._wait_for(1)
        for fd in (self._fd, *self._pipe):
            os.close(fd)
        if self.remaining:
            self._cycle.keep_alive = False
            return
        protocol = self._protocol
        protocol.parser = type(protocol.parser)(protocol)
        with contextlib.suppress(AttributeError):  # as uvicorn does for its own
            protocol.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        protocol.on_message_complete()

    def _wait_for(self, size: int) -> None:
        """How many bytes make the socket readable."""
        with socket.socket(fileno=os.dup(self._fd)) as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
