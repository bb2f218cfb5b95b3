"""Servers that gather a whole body before the app runs: uploads work on them, but resume from nothing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

_ADVICE = (
    "%s gathers a body before it passes it on: of a request that is interrupted nothing is kept, so let clients "
    "send small chunks (chunkSize), or serve uploads with another server, see docs/servers.md"
)

log = logging.getLogger("tuspy_server")


class Adviser:
    """Logs once that the server spools, if it does."""

    def __init__(self) -> None:
        self._done = False

    def look_at_wsgi(self, environ: Mapping[str, object]) -> None:
        if self._done:
            return
        self._done = True
        if str(environ.get("SERVER_SOFTWARE", "")).lower().startswith("waitress"):
            log.warning(_ADVICE, "waitress")

    def look_at_asgi(self, receive: object) -> None:
        """Daphne hands over its queue's own `get`."""
        if self._done:
            return
        self._done = True
        queue = type(getattr(receive, "__self__", None))
        if "daphne.server" in sys.modules and queue.__module__ == "asyncio.queues":
            log.warning(_ADVICE, "daphne")
