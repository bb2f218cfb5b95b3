"""Whether small requests have lately been so fast that a thread hop would cost more than it protects from."""

from __future__ import annotations

import time

FAST = 0.002  # seconds; a hop costs 0.1 ms of CPU, a slow disk or a full page cache far more than this
SLOW = 0.010
NEEDED = 16
PENALTY = 5.0


class Gauge:
    """Counts how long small requests take where they run.

    Fast after `NEEDED` quick ones in a row. One that takes `SLOW` ends it for `PENALTY` seconds, doubled with each
    relapse up to a minute, after which it must be earned again: a store that stalls can hold the loop once, not
    again and again. Observed from worker threads and the loop; a lost update is harmless.
    """

    def __init__(self) -> None:
        self._quick = 0
        self._penalty = PENALTY
        self._barred_until = 0.0

    @property
    def is_fast(self) -> bool:
        return self._quick >= NEEDED

    def observe(self, seconds: float) -> None:
        if seconds < FAST:
            if self._quick < NEEDED and (not self._barred_until or time.monotonic() >= self._barred_until):
                self._quick += 1
            return
        if seconds >= SLOW:
            if self.is_fast:
                self._penalty = min(2 * self._penalty, 60.0)
            self._barred_until = time.monotonic() + self._penalty
        self._quick = 0
