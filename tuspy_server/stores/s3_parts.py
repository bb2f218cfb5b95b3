"""How an upload is cut into parts: pure arithmetic.

The size of a full part is a function of what the record says, the part's number and where it starts. Whoever
continues an upload therefore cuts it at the same places as whoever was interrupted, and a part that was left
beyond a gap fits exactly once the gap is filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tuspy_server.errors import StoreFailed, UploadTooLarge

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """What the server demands and what is preferred; sizes in bytes. The defaults are those of AWS.

    `part_size` is the preferred size of a full part, `min_part_size` the least of every part but the last.
    `equal_parts` says that all parts but the last must be of one size (Cloudflare R2).
    """

    part_size: int = 8 * MIB
    min_part_size: int = 5 * MIB
    max_part_size: int = 5 * GIB
    max_parts: int = 10_000
    max_object_size: int = 5 * TIB
    equal_parts: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_part_size <= self.part_size <= self.max_part_size:
            raise ValueError("part sizes must be 1 <= min_part_size <= part_size <= max_part_size, in bytes")
        if self.max_part_size < 2 * self.min_part_size:
            raise ValueError("max_part_size must be at least twice min_part_size, or not every size can be cut")
        if self.max_parts < 1 or self.max_object_size < 0:
            raise ValueError("max_parts must be at least 1, max_object_size must not be negative")


@dataclass(frozen=True, slots=True)
class Plan:
    """How one upload is cut, frozen into its record so that a changed configuration moves no boundary.

    `base` is the size of its first part. `growing` is for uploads created without a length: parts grow with
    their number, so that any length fits.
    """

    base: int
    min_part_size: int
    max_part_size: int
    max_parts: int
    max_object_size: int
    equal: bool
    growing: bool

    def size(self, number: int, start: int, length: int | None) -> int:
        """Bytes of a full part `number` that starts at `start`. Raises StoreFailed if there is no such number."""
        if number > self.max_parts:
            raise StoreFailed(f"the upload has used all of its {self.max_parts} parts")
        if self.equal:
            return self.base
        size = max(self.base, self._grown(number)) if self.growing else self.base
        if length is not None and self._reach(number, size) < length - start:
            size = max(size, _ceil(length - start, self.max_parts - number + 1))
        return min(size, self.max_part_size)

    def full_size(self, number: int, start: int, length: int | None) -> int:
        """Like `size`, but the last part ends where the upload ends. 0 where there is no such part."""
        if number > self.max_parts:
            return 0
        size = self.size(number, start, length)
        return size if length is None else min(size, length - start)

    def may_be_short(self, number: int, start: int, size: int, length: int | None) -> bool:
        """Whether part `number` may hold only `size` bytes although more will follow.

        Every interruption can cost a number, so short parts are allowed only while the rest fits into the
        numbers left with parts of at most twice the base.
        """
        if self.equal or size < self.min_part_size:
            return False
        left = self.max_parts - number
        if length is None:
            return left > self.max_parts // 10
        return left * 2 * self.base >= length - start - size

    def encode(self) -> str:
        """A short text for the record."""
        sizes = (self.base, self.min_part_size, self.max_part_size, self.max_parts, self.max_object_size)
        return ":".join(map(str, (*sizes, int(self.equal), int(self.growing))))

    @classmethod
    def decode(cls, text: str) -> Plan:
        """The plan that `encode` wrote. Raises ValueError."""
        *sizes, equal, growing = (int(number) for number in text.split(":"))
        base, min_part_size, max_part_size, max_parts, max_object_size = sizes
        return cls(base, min_part_size, max_part_size, max_parts, max_object_size, bool(equal), bool(growing))

    def _reach(self, number: int, size: int) -> int:
        """Bytes that parts `number` to the last can hold without growing beyond the schedule."""
        if not self.growing:
            return size * (self.max_parts - number + 1)
        # Each number is at least as large as the schedule says; the sum of squares is bounded by its integral.
        ahead = self._target() * (self.max_parts**3 - (number - 1) ** 3) // self.max_parts**3
        return max(ahead, size * (self.max_parts - number + 1))

    def _grown(self, number: int) -> int:
        """Grows with the square of the number, so that the sum over all numbers reaches the largest object.

        Slow at first (8 MiB up to part 700, 16 MiB at 1000), since parts are held in memory.
        """
        return _ceil(3 * self._target() * number * number, self.max_parts**3)

    def _target(self) -> int:
        return min(self.max_object_size, self.max_parts * self.max_part_size // 3)


def plan_parts(limits: PartLimits, length: int | None) -> Plan:
    """The plan of a new upload. Raises UploadTooLarge if `length` cannot be stored within the limits."""
    base = limits.part_size
    if length is not None:
        if length > limits.max_object_size:
            raise UploadTooLarge(f"the store takes at most {limits.max_object_size} bytes")
        base = max(base, _ceil(length, limits.max_parts))
        if base > limits.max_part_size:
            raise UploadTooLarge(f"the store takes at most {limits.max_parts * limits.max_part_size} bytes")
        if base > limits.part_size:
            # Whole MiB where they fit: spare numbers for interruptions, and sizes people can read.
            base = min(_ceil(base, MIB) * MIB, limits.max_part_size)
    growing = length is None and not limits.equal_parts
    return Plan(
        base,
        limits.min_part_size,
        limits.max_part_size,
        limits.max_parts,
        limits.max_object_size,
        limits.equal_parts,
        growing,
    )


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes `start` up to, not including, `stop` of the source at `index`."""

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class CopiedPart:
    """A part made of `slices`: one slice the server can copy by itself, several are streamed and joined."""

    slices: tuple[Slice, ...]
    streamed: bool

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.slices)


def plan_concat(sizes: Sequence[int], plan: Plan, *, server_copies: bool = True) -> list[CopiedPart]:
    """The parts of a final upload out of sources of these sizes, in order.

    A source at least of the minimum size is copied by the server in as few parts as possible; smaller ones are
    streamed together with the head of their successor, never more than a base part of it. Raises StoreFailed
    if the numbers do not suffice.
    """
    if plan.equal or not server_copies:
        parts = list(_cut_evenly(sizes, plan.base, server_copies=server_copies))
    else:
        parts = list(_cut_at_sources(sizes, plan))
    if len(parts) > plan.max_parts:
        raise StoreFailed(f"the final upload would need more than {plan.max_parts} parts")
    return parts


def _cut_evenly(sizes: Iterable[int], part_size: int, *, server_copies: bool) -> Iterator[CopiedPart]:
    pending: list[Slice] = []
    room = part_size
    for index, size in enumerate(sizes):
        start = 0
        while start < size:
            piece = Slice(index, start, min(size, start + room))
            pending.append(piece)
            start, room = piece.stop, room - piece.size
            if not room:
                yield CopiedPart(tuple(pending), streamed=not server_copies or len(pending) > 1)
                pending, room = [], part_size
    if pending:
        yield CopiedPart(tuple(pending), streamed=not server_copies or len(pending) > 1)


def _cut_at_sources(sizes: Iterable[int], plan: Plan) -> Iterator[CopiedPart]:
    pending: list[Slice] = []
    for index, size in enumerate(sizes):
        start = 0
        held = sum(piece.size for piece in pending)
        if pending or size < plan.min_part_size:
            start = min(size, plan.min_part_size - held)
            # What would be left is too small for a part of its own: take it along while it is small anyway.
            if 0 < size - start < plan.min_part_size:
                start = size
            if start:
                pending.append(Slice(index, 0, start))
            if held + start < plan.min_part_size:
                continue
            yield CopiedPart(tuple(pending), streamed=True)
            pending = []
        for piece in _cut_source(index, start, size, plan):
            yield CopiedPart((piece,), streamed=False)
    if pending:
        yield CopiedPart(tuple(pending), streamed=True)


def _cut_source(index: int, start: int, size: int, plan: Plan) -> Iterator[Slice]:
    """`size - start` bytes in equal slices that are as large as the server takes them."""
    count = _ceil(size - start, plan.max_part_size)
    for turn in range(count):
        stop = start + _ceil(size - start, count - turn)
        yield Slice(index, start, stop)
        start = stop


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
