"""What one principal may ask of the server (SEC6): open uploads, requests at once, appends.

Counted by this process, in memory: several processes allow several times as much, and a restart forgets. Who has no
principal is known by the address of the connection's other end, which behind a proxy is the proxy's.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from tuspy_server.config import Config
from tuspy_server.errors import AppendForbidden, TusError, UploadLocked
from tuspy_server.models import Headers, Request, UploadInfo

MOST_REMEMBERED = 100_000  # uploads whose appends are counted


class TooManyUploads(TusError):
    status = 429
    code = "ERR_TOO_MANY_UPLOADS"
    message = "too many unfinished uploads"

    @property
    def headers(self) -> Headers:
        return (("Retry-After", "60"),)


class TooManyRequests(UploadLocked):
    """423 and not 429: clients give an upload up after any other 4xx."""

    code = "ERR_TOO_MANY_REQUESTS"
    message = "too many requests at once"


class TooManyAppends(AppendForbidden):
    code = "ERR_TOO_MANY_APPENDS"
    message = "this upload took as many requests as it may"


class Caps:
    """The counts of one app. Safe from any thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._open: dict[str, dict[str, datetime | None]] = {}
        self._owners: dict[str, str] = {}  # of the open uploads: an end must not look through all principals
        self._appends: OrderedDict[str, int] = OrderedDict()

    @contextmanager
    def running(self, request: Request) -> Iterator[None]:
        """Around one request. Raises TooManyRequests."""
        who, most = _who(request), self._config.max_running_requests
        with self._lock:
            if most is not None and self._running[who] >= most:
                raise TooManyRequests
            self._running[who] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[who] -= 1
                if not self._running[who]:
                    del self._running[who]

    def open(self, request: Request, info: UploadInfo, now: datetime) -> bool:
        """Count an upload that is about to be created; False if it counts already. Raises TooManyUploads."""
        most = self._config.max_open_uploads
        if most is None:
            return False
        with self._lock:
            who = _who(request)
            mine = self._open.get(who, {})
            for upload_id in [each for each, until in mine.items() if until is not None and until <= now]:
                self._forget(upload_id)
            if info.id in self._owners:
                return False
            if len(mine) >= most:
                raise TooManyUploads
            self._open.setdefault(who, {})[info.id] = info.expires
            self._owners[info.id] = who
            return True

    def ended(self, upload_id: str) -> None:
        """The upload is finished, removed, or was not created after all."""
        with self._lock:
            self._forget(upload_id)
            self._appends.pop(upload_id, None)

    def _forget(self, upload_id: str) -> None:
        """Requires the lock."""
        who = self._owners.pop(upload_id, None)
        if who is not None:
            del self._open[who][upload_id]
            if not self._open[who]:
                del self._open[who]

    def check_appends(self, upload_id: str) -> None:
        """Raise TooManyAppends where one more is not allowed."""
        most = self._config.max_appends
        if most is not None and self._appends.get(upload_id, 0) >= most:
            raise TooManyAppends

    def count_append(self, upload_id: str) -> None:
        """Count an append, one without bytes too. Raises TooManyAppends. Requires the upload's lock."""
        if self._config.max_appends is None:
            return
        self.check_appends(upload_id)
        with self._lock:
            self._appends[upload_id] = self._appends.pop(upload_id, 0) + 1
            if len(self._appends) > MOST_REMEMBERED:
                self._appends.popitem(last=False)


def caps_for(config: Config) -> Caps | None:
    """None where nothing is capped."""
    wanted = (config.max_open_uploads, config.max_running_requests, config.max_appends)
    return None if wanted == (None, None, None) else Caps(config)


def _who(request: Request) -> str:
    return f"principal {request.principal}" if request.principal is not None else f"address {request.client}"
