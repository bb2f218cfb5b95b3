"""Tokens where the record that counts them may go: a lifecycle rule, a table's TTL."""

from __future__ import annotations

from collections.abc import Callable

from tuspy_server.lockers.lease import LeasedLocker


def nothing() -> None: ...


def tokens_around(locker: LeasedLocker, remove: Callable[[], object]) -> list[int]:
    """Tokens of an upload "a" taken three times, and of three times more after its record was removed."""
    tokens = []
    for _ in range(2):
        for _ in range(3):
            lock = locker.try_lock("a", nothing, nothing)
            assert lock is not None
            assert lock.token is not None
            tokens.append(lock.token)
            lock.release()
        remove()
    locker.close()
    return tokens
