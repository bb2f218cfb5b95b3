"""Runs one script of `scribe` again and again, each time killed at a later system call.

    python -m tests.stores.killed DIRECTORY DURABILITY SCRIPT

Run n works below DIRECTORY/n and writes what the store told to DIRECTORY/n.told. Prints how many were killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import cast

from tests.stores import scribe
from tests.stores.disk import RecordingSystem
from tuspy_server.models import UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.upload_records import Durability


class FatalSystem(RecordingSystem):
    """Kills this process before its n-th call, a write after half of it."""

    def __init__(self, root: Path, turn: int) -> None:
        super().__init__(root, fail=self._kill_in_time)
        self._left = turn

    def _kill_in_time(self, call: str) -> None:
        if call == "write":
            return
        self._count()

    def _count(self) -> bool:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._left == 0

    def write(self, fd: int, chunks: Sequence[bytes], offset: int) -> int:
        if self._count():
            data = b"".join(chunks)
            os.pwrite(fd, data[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(fd, chunks, offset)


class TellingScribe(scribe.Scribe):
    """Writes down what was told before it goes on."""

    told: int

    def _told(self, info: UploadInfo, offset: int) -> None:
        super()._told(info, offset)
        os.write(self.told, f"{info.id} {offset}\n".encode())

    def terminate(self, info: UploadInfo, *, tombstone: bool) -> None:
        os.write(self.told, f"{info.id} ending\n".encode())
        super().terminate(info, tombstone=tombstone)

    def concat(self, info: UploadInfo, *parts: UploadInfo) -> UploadInfo:
        os.write(self.told, f"{info.id} 0\n".encode())
        return super().concat(info, *parts)


def run(root: Path, durability: Durability, script: str, turn: int) -> None:
    directory = root / str(turn)
    directory.mkdir()
    system = FatalSystem(directory, turn)
    telling = TellingScribe(FileStore(directory, durability=durability, system=system), system)
    telling.told = os.open(f"{directory}.told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    getattr(scribe, script)(telling)


def main(root: str, durability: str, script: str) -> None:
    for turn in count():
        pid = os.fork()
        if not pid:
            run(Path(root), cast("Durability", durability), script, turn)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert not os.WEXITSTATUS(status)
            print(turn)
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main(*sys.argv[1:])
