"""Appends to an upload whose pieces a ledger counts."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from typing import Protocol

from tuspy_server.errors import RecordChanged, StoreError
from tuspy_server.models import UploadInfo
from tuspy_server.stores.ledger import Ledger, Piece
from tuspy_server.stores.ledger_pool import PiecePool


class PieceNames:
    """Names that no other writer of the upload uses."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(6)
        self._numbers = count()

    def new(self, size: int, level: int = 0) -> Piece:
        return Piece(self._token, next(self._numbers), size, level)


class PieceKeeper(Protocol):
    """What a writer needs of its store."""

    pool: PiecePool
    pieces_in_flight: int
    checkpoint_interval: float

    @abstractmethod
    def piece_size(self, ledger: Ledger, length: int | None) -> int:
        """Bytes of the next whole piece behind those of `ledger`."""

    @abstractmethod
    def smallest_piece(self, ledger: Ledger, length: int | None) -> int:
        """Fewer bytes than this are kept in the ledger's tail, for a later piece."""

    @abstractmethod
    def put_piece(self, info: UploadInfo, piece: Piece, data: bytes) -> None:
        """Store a piece. Raises StoreError; then it may be stored or not."""

    @abstractmethod
    def drop_uncounted(self, info: UploadInfo, pieces: Sequence[Piece]) -> None:
        """Remove those of `pieces` that the present ledger does not name, as far as that is possible now."""

    @abstractmethod
    def commit(self, info: UploadInfo, ledger: Ledger, version: str, names: PieceNames) -> tuple[Ledger, str]:
        """Make `ledger` the truth if the stored one is still `version`; return it as stored and its version.

        Raises RecordChanged if it is not; any other StoreError leaves open which of the two holds.
        """


class _Buffer:
    """Bytes that wait to become a piece."""

    def __init__(self, data: bytes) -> None:
        self._chunks: deque[bytes | memoryview] = deque([data] if data else [])
        self.size = len(data)

    def put(self, chunk: bytes) -> None:
        if chunk:
            self._chunks.append(chunk)
            self.size += len(chunk)

    def take(self, size: int) -> bytes:
        """The first `size` bytes, at most what is there, joined."""
        taken: list[bytes | memoryview] = []
        missing = min(size, self.size)
        self.size -= missing
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk) > missing:
                view = memoryview(chunk)
                self._chunks.appendleft(view[missing:])
                chunk = view[:missing]
            taken.append(chunk)
            missing -= len(chunk)
        if len(taken) == 1 and isinstance(taken[0], bytes):
            return taken[0]
        return b"".join(taken)


class LedgerWriter:
    """Cuts what arrives into pieces, stores them a few at a time, and counts those that form a prefix.

    Memory: at most `pieces_in_flight` pieces on their way and one that fills. While a long body arrives the
    ledger is brought up to date every `checkpoint_interval` seconds, which bounds what a kill -9 loses.
    """

    def __init__(self, keeper: PieceKeeper, info: UploadInfo, ledger: Ledger, version: str) -> None:
        self._keeper = keeper
        self._info = info
        self._ledger = ledger
        self._version = version
        self._names = PieceNames()
        self._buffer = _Buffer(ledger.tail)
        self._planned = ledger.followed_by(())
        self._flying: deque[tuple[Piece, Future[None]]] = deque()
        self._landed: list[Piece] = []
        self._made: list[Piece] = []
        self._failure: StoreError | None = None
        self._lost: StoreError | None = None
        self._told = False
        self._closed = False
        self._checkpoint = time.monotonic()

    def write(self, chunks: Sequence[bytes], /) -> None:
        """Take the chunks over; blocks while as many pieces are on their way as may be."""
        for chunk in chunks:
            self._raise_failure()
            self._buffer.put(chunk)
            while self._buffer.size >= (size := self._keeper.piece_size(self._planned, self._info.length)):
                self._send(self._buffer.take(size))
        self._raise_failure()
        if time.monotonic() - self._checkpoint >= self._keeper.checkpoint_interval:
            self._keep_up()

    def close(self) -> int:
        """Store the rest and count it. After `write` raised: count what was stored before the gap."""
        if not self._closed:
            self._closed = True
            self._finish_up()
        if self._lost is not None:
            raise self._lost
        return self._ledger.offset

    def _finish_up(self) -> None:
        tail = self._store_rest()
        self._land(0)
        if self._failure is None:
            if self._landed or tail != self._ledger.tail:
                self._commit(tail)
            return
        self._keep_up()
        self._keeper.drop_uncounted(self._info, self._made)
        if not self._told:
            self._raise_failure()

    def _keep_up(self) -> None:
        """Count what is stored by now."""
        self._land(self._keeper.pieces_in_flight)
        if self._landed:
            self._commit(b"")
        self._checkpoint = time.monotonic()

    def _store_rest(self) -> bytes:
        """Send what the buffer holds, or return it if it is too small for a piece."""
        if self._failure is not None or self._lost is not None:
            return b""
        rest = self._buffer.take(self._buffer.size)
        if len(rest) < self._keeper.smallest_piece(self._planned, self._info.length):
            return rest
        self._send(rest)
        return b""

    def _send(self, data: bytes) -> None:
        piece = self._names.new(len(data))
        self._made.append(piece)
        self._planned = self._planned.followed_by([piece])
        self._land(self._keeper.pieces_in_flight - 1)
        if self._failure is None:
            future = self._keeper.pool.submit(self._keeper.put_piece, self._info, piece, data)
            self._flying.append((piece, future))

    def _land(self, in_flight: int) -> None:
        """Take note of the pieces that are stored, in order; wait until at most `in_flight` are on their way."""
        while self._flying and (len(self._flying) > in_flight or self._flying[0][1].done()):
            piece, future = self._flying.popleft()
            try:
                future.result()
            except StoreError as exc:
                self._failure = self._failure or exc
            if self._failure is None:
                self._landed.append(piece)

    def _commit(self, tail: bytes) -> None:
        """Make the ledger name what landed, and `tail` behind it."""
        ledger = replace(self._ledger.followed_by(self._landed), tail=tail)
        try:
            self._ledger, self._version = self._keeper.commit(self._info, ledger, self._version, self._names)
        except StoreError as exc:
            self._lost = exc
            self._land(0)
            if isinstance(exc, RecordChanged):
                self._keeper.drop_uncounted(self._info, self._made)
            raise
        self._landed = []

    def _raise_failure(self) -> None:
        error = self._lost or self._failure
        if error is not None:
            self._told = True
            raise error


class LedgerStagedWriter(LedgerWriter):
    """Counts everything at once, in `close`, or nothing."""

    def discard(self) -> None:
        if not self._closed:
            self._closed = True
            self._land(0)
            self._keeper.drop_uncounted(self._info, self._made)

    def _keep_up(self) -> None:
        """Pieces stored by now stay uncounted."""

    def _finish_up(self) -> None:
        super()._finish_up()
        self._raise_failure()
