"""What is durable of an unfinished upload, told from a listing of its parts and of its marks: pure.

Every append that stored anything ends with one mark, an immutable object named

    tail-<start>-<fence>.<turn>-<end>-<count>-<digest>

It holds bytes `start` to `end`, those too few for a part, and vouches for the first `count` parts, which end at
`start`: `digest` is taken over their ETags. The owner is the lock's token (`fence`), and the time of opening
(`turn`) where the lock has none. The mark of the newest owner counts, of his the one that reaches furthest;
one that lands late is older and changes nothing. Parts beyond the newest mark belong to an append that was cut
before its own: they count as far as they are full and without a gap, unless the mark holds bytes, for then
nothing says that such a part begins with these very bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tuspy_server.errors import StoreUnavailable, UploadGone

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_MARK: Final = re.compile(r"tail-(\d{1,19})-(\d{1,20})\.(\d{1,20})-(\d{1,19})-(\d{1,5})-([0-9a-f]{32})", re.ASCII)
_OWNER: Final = re.compile(r"owner-(\d{1,20})", re.ASCII)

#: Ways to choose among parts listed twice that are tried at most.
_MOST_CHAINS: Final = 1024

Token = tuple[int, int]
FullSize = Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class Part:
    """A part as the server has it."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark as its name tells it."""

    start: int
    token: Token
    end: int
    count: int
    digest: str

    @property
    def name(self) -> str:
        fence, turn = self.token
        return f"tail-{self.start}-{fence}.{turn}-{self.end}-{self.count}-{self.digest}"

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class View:
    """The durable prefix: `parts` without a gap, then the bytes of `tail`, if it has any.

    `beyond` are parts that do not count (yet): after a gap, or not vouched for. `mark` is the newest mark;
    `names` are all side objects, `highest_fence` is the newest owner's that shows in them.
    """

    parts: tuple[Part, ...]
    beyond: tuple[Part, ...]
    mark: Mark | None
    names: tuple[str, ...]
    highest_fence: int

    @property
    def parts_end(self) -> int:
        """Where the parts that count end, in bytes."""
        return sum(part.size for part in self.parts)

    @property
    def tail(self) -> Mark | None:
        """The mark whose bytes follow the parts."""
        return self.mark if self.mark and self.mark.size and self.mark.count == len(self.parts) else None

    @property
    def offset(self) -> int:
        return self.parts_end + (self.tail.size if self.tail else 0)


def digest_of(parts: Iterable[Part]) -> str:
    """Changes with any part, its size or its place."""
    summed = hashlib.sha256()
    for part in parts:
        summed.update(_line(part))
    return _short(summed)


def _line(part: Part) -> bytes:
    return f"{part.number}:{part.size}:{part.etag}\n".encode()


def _short(summed: Hash) -> str:
    return summed.hexdigest()[:32]


def mark_of(parts: Sequence[Part], token: Token, size: int) -> Mark:
    """The mark of an append that leaves `parts` and then `size` bytes of its own."""
    start = sum(part.size for part in parts)
    return Mark(start, token, start + size, len(parts), digest_of(parts))


def parse_mark(name: str) -> Mark | None:
    """The mark of that name, None for any other object."""
    found = _MARK.fullmatch(name)
    if found is None:
        return None
    start, fence, turn, end, count = (int(number) for number in found.groups()[:5])
    return Mark(start, (fence, turn), end, count, found[6]) if start <= end else None


def fence_of(name: str) -> int:
    """The fencing token that a side object shows, 0 if none."""
    owner = _OWNER.fullmatch(name)
    if owner is not None:
        return int(owner[1])
    mark = parse_mark(name)
    return mark.token[0] if mark else 0


def owner_name(fence: int) -> str:
    """The object by which an owner makes himself known before he looks at what is there."""
    return f"owner-{fence}"


def view(listed: Iterable[Part], names: Iterable[str], full_size: FullSize) -> View:
    """The durable prefix. `listed` holds older parts before newer ones: a number that was uploaded again may be
    listed twice (SeaweedFS), and then the part that is vouched for counts, else the last one that is full.

    `full_size` tells the size of a full part by its number and start: behind the newest mark only full parts
    count, since a short one is acknowledged by its mark alone. Raises UploadGone if a part that was vouched for
    has been replaced, so that acknowledged bytes are lost; StoreUnavailable if one is not listed (yet).
    """
    parts: dict[int, list[Part]] = {}
    for part in listed:
        parts.setdefault(part.number, []).append(part)
    found = tuple(names)
    marks = [mark for name in found if (mark := parse_mark(name))]
    newest = max(marks, key=lambda mark: (mark.token, mark.count, mark.end), default=None)
    run = [] if newest is None else _vouched(parts, newest)
    if newest is None or not newest.size:
        _extend(run, parts, full_size)
    beyond = tuple(same[-1] for number, same in sorted(parts.items()) if number > len(run))
    return View(tuple(run), beyond, newest, found, max(map(fence_of, found), default=0))


def _vouched(parts: dict[int, list[Part]], mark: Mark) -> list[Part]:
    """The first `count` parts such that their digest is the mark's."""
    chains: list[tuple[Hash, list[Part]]] = [(hashlib.sha256(), [])]
    for number in range(1, mark.count + 1):
        same = parts.get(number)
        if same is None:
            raise StoreUnavailable("the listing of parts is behind")
        if len(same) > 1:
            chains = [(summed.copy(), [*run]) for summed, run in chains for _ in same][:_MOST_CHAINS]
        for turn, (summed, run) in enumerate(chains):
            part = same[turn % len(same)]
            summed.update(_line(part))
            run.append(part)
    for summed, run in chains:
        if _short(summed) == mark.digest:
            return run
    raise UploadGone("stored parts were replaced behind the upload's back")


def _extend(run: list[Part], parts: dict[int, list[Part]], full_size: FullSize) -> None:
    start = sum(part.size for part in run)
    while same := parts.get(len(run) + 1):
        size = full_size(len(run) + 1, start)
        full = [part for part in same if part.size == size]
        if not full:
            return
        run.append(full[-1])
        start += size
