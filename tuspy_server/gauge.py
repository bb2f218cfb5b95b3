"""Whether small requests have lately been so fast that a thread hop would cost more than it protects from."""

from __future__ import annotations

QUICK = 0.001  # seconds; a hop costs 0.1 ms of CPU, a slow disk or a full page cache far more than this
NEEDED = 16
MOST = 64
DEEPEST = -2000


class Gauge:
    """A purse: a quick request earns 1, a slow one costs its milliseconds.

    Fast while there are `NEEDED` in it. A scheduler's hiccup costs a little, a disk that always takes 3 ms never
    fills it, and a store that stalled for a second must prove itself again over a thousand requests, which run in
    worker threads meanwhile: it can hold the loop once, not again and again. Observed from worker threads and the
    loop; a lost update is harmless.
    """

    def __init__(self) -> None:
        self._purse = 0

    @property
    def is_fast(self) -> bool:
        return self._purse >= NEEDED

    def observe(self, seconds: float) -> None:
        if seconds < QUICK:
            self._purse = min(self._purse + 1, MOST)
        else:
            self._purse = max(self._purse - int(seconds / QUICK), DEEPEST)
