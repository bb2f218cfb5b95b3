"""Joining any number of objects on Google Cloud Storage, 32 at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from tuspy_server.backends.gcs import COMPOSE_LIMIT, Bucket, Found, Headers, Refused
from tuspy_server.errors import StoreFailed
from tuspy_server.stores.ledger import Piece

T = TypeVar("T")


def groups(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items` in order, as many together as one request takes."""
    return (items[first : first + COMPOSE_LIMIT] for first in range(0, len(items), COMPOSE_LIMIT))


def full_group(pieces: Sequence[Piece]) -> range | None:
    """Where the last pieces of one level are enough for one of the next; None where they are not.

    Joined whenever that is so, an upload of n pieces keeps fewer than 32 of each level, and few remain to be joined
    when it is finished.
    """
    first = 0
    found = None
    for _, group in groupby(pieces, key=lambda piece: piece.level):
        count = len(list(group))
        if count >= COMPOSE_LIMIT:
            found = range(first, first + COMPOSE_LIMIT)
        first += count
    return found


def compose_new(bucket: Bucket, sources: Sequence[str], key: str, size: int) -> None:
    """Join up to 32 objects under a name that nobody else uses. A repeat whose first try succeeded is no error.

    Raises Missing if one is gone.
    """
    try:
        made: Found | None = bucket.compose(sources, key, "0", Headers())
    except Refused:
        made = bucket.head(key)
    if made is None or made.size != size:
        raise StoreFailed("pieces were joined to an object of another size")


def compose_tree(bucket: Bucket, sources: Sequence[tuple[str, int]], new_key: Callable[[int], str]) -> list[str]:
    """Join objects (name, size) in order until 32 or fewer remain; return their names.

    `new_key` makes a fresh name for an intermediate object of a given size. Raises Missing if one is gone.
    """
    while len(sources) > COMPOSE_LIMIT:
        joined: list[tuple[str, int]] = []
        for group in groups(sources):
            size = sum(size for _, size in group)
            key = new_key(size)
            compose_new(bucket, [name for name, _ in group], key, size)
            joined.append((key, size))
        sources = joined
    return [name for name, _ in sources]
