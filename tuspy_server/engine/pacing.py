"""How slowly and how long bytes may come (SEC6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuspy_server.config import Config
from tuspy_server.errors import ReadTimeout, UploadGone
from tuspy_server.models import UploadInfo
from tuspy_server.protocol import rules

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime

GRACE = 10.0  # seconds of waiting for a client before its rate counts


class TooSlow(ReadTimeout):
    code = "ERR_TOO_SLOW"
    message = "the body arrives too slowly, the bytes received so far are kept"


class Pace:
    """One body's rate, without the time that the store took, and its upload's lifetime."""

    def __init__(self, config: Config, info: UploadInfo, runtime: Runtime) -> None:
        self._rate = config.min_rate
        self._lifetime = config.max_lifetime
        self._info = info
        self._runtime = runtime
        self._waited = 0.0
        self._received = 0
        self._since = runtime.monotonic()

    def heard(self, size: int) -> None:
        """So many bytes have come since `check`."""
        self._waited += self._runtime.monotonic() - self._since
        self._received += size

    def check(self) -> None:
        """Before the next wait, with all that came stored. Raises TooSlow, UploadGone."""
        if self._rate and self._waited > GRACE and self._received < self._waited * self._rate:
            raise TooSlow
        if rules.is_outlived(self._info, self._lifetime, self._runtime.now()):
            raise UploadGone
        self._since = self._runtime.monotonic()


def pace_for(config: Config, info: UploadInfo, runtime: Runtime) -> Pace | None:
    """None where neither rate nor lifetime are limited."""
    return None if config.min_rate is None and config.max_lifetime is None else Pace(config, info, runtime)
