"""What lockers share about threads and forks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakSet

_log = logging.getLogger("tuspy_server")

_LINGER = 1.0
_LINGER_INTERVAL = 0.05
_PARKED_LIFETIME = 60.0
_FAILURE_PAUSE = 1.0


class Worker:
    """One daemon thread that calls `step` while there is something to do.

    `step` returns the seconds until it wants to be called again, or None if there is nothing to do. After a
    second of that the thread parks, and after a minute of being parked it ends. What `step` raises is logged, and
    it is called again a second later.
    """

    def __init__(self, name: str, step: Callable[[], float | None]) -> None:
        self._name = name
        self._step = step
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.parked = False

    def wake(self) -> None:
        """Have `step` called soon, from a new thread if there is none. Cheap while the worker works.

        Call it after there is something to do, or the thread may park again at once. Raises RuntimeError if
        no thread can be started.
        """
        if self._thread is not None and not self.parked:
            return
        with self._mutex:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            self._wake.set()

    def hurry(self) -> None:
        """Have `step` called now rather than after the pause it asked for."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """End the thread for good, as soon as `step` returns; wait at most so long for that."""
        self._stopped = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _run(self) -> None:
        worked_at = time.monotonic()
        while not self._stopped:
            pause = self._try_step()
            if pause is not None:
                worked_at = time.monotonic()
            elif time.monotonic() - worked_at < _LINGER:
                pause = _LINGER_INTERVAL
            elif self._park():
                worked_at = time.monotonic()
                continue
            else:
                return
            if pause and self._wake.wait(pause):
                self._wake.clear()

    def _try_step(self) -> float | None:
        try:
            return self._step()
        except Exception:
            _log.exception("%s failed", self._name)
            return _FAILURE_PAUSE

    def _park(self) -> bool:
        """Wait for `wake`; False if nothing came and the thread has to end.

        `parked` is set before the last look at the work: whoever brings some either is seen by it or sees `parked`.
        """
        self._wake.clear()
        self.parked = True
        if self._try_step() is None and not self._wake.wait(_PARKED_LIFETIME):
            with self._mutex:
                if not self._wake.is_set():
                    self._thread = None
                    self.parked = False
                    return False
        self.parked = False
        return True


def call_each(callbacks: Iterable[Callable[[], None]]) -> None:
    """Call them all; what one raises is logged and keeps neither the others nor the caller from going on."""
    for callback in callbacks:
        try:
            callback()
        except Exception:
            _log.exception("a lock's callback failed")


class Forkable(Protocol):
    """Something that must not share locks, threads and connections with a forked child."""

    def start_anew_in_child(self) -> None: ...


_forkables: WeakSet[Forkable] = WeakSet()


def start_anew_after_fork(forkable: Forkable) -> None:
    """Have `start_anew_in_child` called in every child that this process forks, as long as the object lives."""
    _forkables.add(forkable)


def _start_all_anew() -> None:
    for forkable in list(_forkables):
        forkable.start_anew_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_anew)
