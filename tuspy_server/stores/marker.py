"""A directory claimed by one process."""

from __future__ import annotations

import os
from types import TracebackType

from tuspy_server.errors import StoreFailed
from tuspy_server.stores.system import BINARY, NOFOLLOW, System


class DirectoryMarker:
    """Holds a lock on a file until closed or until the process ends; the file itself stays.

    Raises StoreFailed on construction while another process, or another marker of this one, holds it.
    """

    def __init__(self, system: System, path: str) -> None:
        self._system = system
        self._fd = system.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW | BINARY, 0o664)
        if not system.lock(self._fd, wait=False):
            self.close()
            raise StoreFailed(
                f"{os.path.dirname(path)} is in use by another process, and the locker sees this process only: "
                "use FileLocker, or one process"
            )

    def close(self) -> None:
        """Let others claim the directory. Safe to call twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._system.close(fd)

    def __enter__(self) -> DirectoryMarker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
