"""How the engine receives a body, whoever delivers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tuspy_server.errors import BodyInterrupted, TusError


class Body(Protocol):
    """A request body as batches of pieces. Made by an adapter for one request."""

    async def read(self) -> Sequence[bytes] | None:
        """The next batch, None at the body's clean end.

        Raises BodyInterrupted (or a kind of it), or whatever `interrupt` was given, once everything that
        arrived before has been handed over.
        """

    def take(self) -> Sequence[bytes]:
        """What has arrived and was not handed over yet; for a reader that was cancelled."""
        ...

    def interrupt(self, reason: TusError) -> None:
        """Stop reading and make `read` raise `reason`. From any thread, returns at once; the first reason counts."""


class Movable(Protocol):
    """What a body offers beyond that where the kernel can move it to a file; instead of `read`, never beside it."""

    def begin_moves(self) -> bytes:
        """Take over the source; returns what had been read from it before. Ended by `end_moves`."""
        ...

    async def await_bytes(self) -> int:
        """How many bytes may be moved now, 0 at the body's clean end. Raises as `read` does."""
        ...

    def move(self, target: int, limit: int, /) -> int:
        """Move what has arrived, at most `limit` bytes, to a file; never waits. From a worker thread.

        Raises OSError of the file.
        """
        ...

    def end_moves(self) -> None: ...


def movable(body: Body) -> Movable | None:
    """The same body, if the kernel can move it."""
    found: Movable | None = getattr(body, "movable", None)
    return found


class Buffered:
    """A body that is in memory already. It cannot be interrupted: there is nothing left to wait for.

    `cut` marks one whose end never came; its prefix is handed over all the same.
    """

    def __init__(self, chunks: Sequence[bytes], *, cut: bool = False) -> None:
        self._chunks = chunks
        self.cut = cut

    def peek(self) -> Sequence[bytes]:
        """What `take` would hand over."""
        return self._chunks

    async def read(self) -> Sequence[bytes] | None:
        chunks = self.take()
        if chunks:
            return chunks
        if self.cut:
            raise BodyInterrupted
        return None

    def take(self) -> Sequence[bytes]:
        chunks, self._chunks = self._chunks, ()
        return chunks

    def interrupt(self, reason: TusError) -> None:
        """Nothing to stop."""


EMPTY_BODY = Buffered(())
