"""For services that only store records: who may take over a lock, and many calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.lease import now

T = TypeVar("T")
K = TypeVar("K")

_SIGHTINGS = 10_000
_THREADS = 8


class Sightings:
    """Tells by our own steady clock that a lock is dead: its record did not change for the length of its lease.

    No two clocks are compared, so none can be wrong. The price: whoever finds the lock of a dead holder first
    watches it for one lease.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._first: dict[str, tuple[object, float]] = {}

    def is_dead(self, name: str, version: object, lease: float) -> bool:
        """Whether `version`, read just now, was read first at least `lease` seconds ago."""
        moment = now()
        with self._mutex:
            seen, since = self._first.pop(name, (None, moment))
            if seen != version:
                since = moment
            self._first[name] = version, since
            if len(self._first) > _SIGHTINGS:
                del self._first[next(iter(self._first))]
        return moment - since >= lease

    def forget(self, name: str) -> None:
        """The lock is free or ours."""
        with self._mutex:
            self._first.pop(name, None)


class Pool:
    """A few threads for calls that would take too long one after the other. Made on first use."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def each(self, call: Callable[[K], T], keys: Iterable[K]) -> dict[K, T]:
        """Results of the calls that were answered. Raises LockerUnavailable if there were calls and none was."""
        keys = list(keys)
        if len(keys) == 1:
            return {keys[0]: call(keys[0])}
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="tus-locker")
        results: dict[K, T] = {}
        failure: LockerUnavailable | None = None
        for key, future in [(key, self._executor.submit(call, key)) for key in keys]:
            try:
                results[key] = future.result()
            except LockerUnavailable as exc:
                failure = exc
        if failure is not None and not results:
            raise failure
        return results
