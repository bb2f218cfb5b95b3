"""Whether small requests may run right on the event loop: while they have lately been fast there.

A thread hop costs 0.1 to 0.2 ms of CPU, more than the whole work of a small request on a local store. Only runs on
the loop are measured: in a worker thread the interpreter lock, not the store, decides how long one takes.
"""

from __future__ import annotations

import time

QUICK = 0.001  # seconds
AT_FIRST = 16
MOST = 64
SHORTEST_BAR, LONGEST_BAR = 5.0, 60.0


class Gauge:
    """A purse: a quick request earns 1, a slow one costs its milliseconds.

    When it is empty, requests run in worker threads for a while, twice as long with each relapse, and then one of
    them tries the loop again. So a scheduler's hiccup costs a little, a disk that always takes 3 ms empties the
    purse at once, and a store that stalls holds the loop once in a while for one request, not again and again.
    """

    def __init__(self) -> None:
        self._purse = AT_FIRST
        self._barred_until = 0.0
        self._bar = SHORTEST_BAR

    @property
    def is_fast(self) -> bool:
        return self._purse > 0 or time.monotonic() >= self._barred_until

    def observe(self, seconds: float) -> None:
        """Note how long a request took on the loop."""
        if seconds < QUICK:
            self._purse = min(self._purse + 1, MOST)
            if self._purse == MOST:
                self._bar = SHORTEST_BAR
            return
        self._purse = max(0, self._purse - int(seconds / QUICK))
        if not self._purse:
            self._barred_until = time.monotonic() + self._bar
            self._bar = min(2 * self._bar, LONGEST_BAR)
