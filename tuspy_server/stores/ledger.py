"""The ledger of an upload: which stored pieces count, in order.

Pieces are written under names that no other writer uses, and are nothing until the ledger names them. The ledger
itself is one small object, replaced only while it still is the version that its writer read. So of two writers at
one offset one wins and the other learns it, whatever locks were lost meanwhile; and what a writer left behind that
was killed or fenced off is never taken for a part of the upload.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tuspy_server.errors import UploadGone
from tuspy_server.models import EPOCH

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes stored under a name of their own. `level` tells how often it was composed of others."""

    token: str
    number: int
    size: int
    level: int = 0

    @property
    def name(self) -> str:
        return f"{self.token}-{self.number:06d}"


@dataclass(frozen=True, slots=True)
class Run:
    """`count` consecutive pieces of equal size by one writer: a long upload is a few lines."""

    token: str
    first: int
    count: int
    size: int
    level: int = 0

    def __iter__(self) -> Iterator[Piece]:
        return (Piece(self.token, self.first + n, self.size, self.level) for n in range(self.count))

    def take(self, piece: Piece) -> Run | None:
        """This run with one more piece, None if the piece does not continue it."""
        follows = (piece.token, piece.number) == (self.token, self.first + self.count)
        alike = (piece.size, piece.level) == (self.size, self.level)
        return replace(self, count=self.count + 1) if follows and alike else None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is durable: the runs of pieces in order, and behind them `tail`, bytes too few for a piece.

    `stamp` is unique to each version, so that a writer can tell its own from another's; `at` is when it was written.
    """

    runs: tuple[Run, ...] = ()
    tail: bytes = b""
    stamp: str = ""
    at: datetime = EPOCH

    @property
    def stored(self) -> int:
        """Bytes in pieces."""
        return sum(run.size * run.count for run in self.runs)

    @property
    def offset(self) -> int:
        """Bytes in all."""
        return self.stored + len(self.tail)

    @property
    def count(self) -> int:
        """Number of pieces."""
        return sum(run.count for run in self.runs)

    @property
    def pieces(self) -> Iterator[Piece]:
        return (piece for run in self.runs for piece in run)

    def followed_by(self, pieces: Iterable[Piece]) -> Ledger:
        """With more pieces, and no tail: its bytes are the first of the first new piece."""
        runs = list(self.runs)
        for piece in pieces:
            longer = runs[-1].take(piece) if runs else None
            if longer is not None:
                runs[-1] = longer
            else:
                runs.append(Run(piece.token, piece.number, 1, piece.size, piece.level))
        return replace(self, runs=tuple(runs), tail=b"")

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> Ledger:
        return cls().followed_by(pieces)


def encode_ledger(ledger: Ledger) -> bytes:
    """One line of JSON, then the tail's bytes."""
    runs = [(run.token, run.first, run.count, run.size, run.level) for run in ledger.runs]
    head = {
        "format": _FORMAT,
        "stamp": ledger.stamp,
        "at": ledger.at.isoformat(),
        "tail": len(ledger.tail),
        "runs": runs,
    }
    return json.dumps(head, separators=(",", ":")).encode("ascii") + b"\n" + ledger.tail


def decode_ledger(body: bytes) -> Ledger:
    """The ledger that `encode_ledger` made. Raises UploadGone if it cannot be read."""
    line, _, tail = body.partition(b"\n")
    try:
        head = json.loads(line)
        if head["format"] != _FORMAT or head["tail"] != len(tail):
            raise UploadGone("the upload's ledger is cut or of an unknown format")
        runs = tuple(Run(*run) for run in head["runs"])
        return Ledger(runs, tail, head["stamp"], datetime.fromisoformat(head["at"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise UploadGone("the upload's ledger is unreadable") from exc
