"""Whether small requests may run right on the event loop: while the store has lately been fast there.

A thread hop costs 0.1 to 0.2 ms of CPU, more than the whole work of a small request on a local store. Only runs on
the loop are measured: in a worker thread the interpreter lock, not the store, decides how long one takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

QUICK = 0.001  # seconds
LONG = 0.05  # seconds; whoever is to blame for that, it must not happen again
AT_FIRST = 16
MOST = 64
SHORTEST_BAR, LONGEST_BAR = 5.0, 60.0


class Gauge:
    """A purse: a quick request earns 1, a slow one costs its milliseconds.

    When it is empty, requests run in worker threads for a while, twice as long with each relapse, and then one of
    them tries the loop again. So a scheduler's hiccup costs a little, a disk that always takes 3 ms empties the
    purse at once, and a store that stalls holds the loop once in a while for one request, not again and again.

    On a busy machine a request is slow because others have the processor, and a hop would make that worse. Where the
    system counts how often a thread went to sleep (Linux), the first slow request is only a reason to look closer:
    the next MOST ones are asked whether they slept, and one that did not is not the store's fault.
    """

    def __init__(self) -> None:
        self._purse = AT_FIRST
        self._barred_until = 0.0
        self._bar = SHORTEST_BAR
        self._looks = 0

    @property
    def is_fast(self) -> bool:
        return self._purse > 0 or time.monotonic() >= self._barred_until

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, and a note of how long it took; none if it raises."""
        slept = sleeps() if self._looks else None
        started = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started
        self.observe(seconds, has_slept=None if slept is None else sleeps() != slept)
        return result

    def observe(self, seconds: float, *, has_slept: bool | None = None) -> None:
        """Note how long a request took on the loop; `has_slept` is None where nobody looked."""
        if self._looks:
            self._looks -= 1
        if seconds < QUICK:
            self._purse = min(self._purse + 1, MOST)
            if self._purse == MOST:
                self._bar = SHORTEST_BAR
        elif seconds < LONG and CAN_TELL and not has_slept:
            self._looks = MOST
        else:
            self._pay(seconds)

    def _pay(self, seconds: float) -> None:
        self._looks = MOST
        self._purse = max(0, self._purse - int(seconds / QUICK))
        if not self._purse:
            self._barred_until = time.monotonic() + self._bar
            self._bar = min(2 * self._bar, LONGEST_BAR)


if sys.platform == "linux":
    from resource import RUSAGE_THREAD, getrusage

    CAN_TELL = True

    def sleeps() -> int:
        """How often this thread has given up the processor by itself, to wait for something."""
        return getrusage(RUSAGE_THREAD).ru_nvcsw
else:
    CAN_TELL = False

    def sleeps() -> int:
        """Nobody counts."""
        return 0
