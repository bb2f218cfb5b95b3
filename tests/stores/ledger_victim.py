"""A process whose children lead an upload through its life and may be killed at any moment of it.

`python -m tests.stores.ledger_victim KIND ENDPOINT` reads lines of place and upload id. For each it forks a child,
which tells its process id and then every step that a client would hear of; "gone" follows when the child has ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType

from tests.servers.azurite import client
from tests.stores.ledger_scenario import PIECE, Heard, live, new_upload
from tuspy_server.backends.azure import Container
from tuspy_server.backends.gcs import Bucket
from tuspy_server.stores.azure import AzureStore
from tuspy_server.stores.gcs import GCSStore
from tuspy_server.stores.ledger_store import LedgerStore


def tiny_gcs_store(bucket: Bucket) -> LedgerStore:
    return GCSStore(
        bucket, prefix="p", piece_size=PIECE, smallest=10, pieces_in_flight=2, threads=3, checkpoint_interval=0
    )


def tiny_azure_store(container: Container) -> LedgerStore:
    return AzureStore(
        container, prefix="p", block_size=PIECE, smallest=10, blocks_in_flight=2, threads=3, checkpoint_interval=0
    )


def make_store(kind: str, endpoint: str, place: str) -> LedgerStore:
    """A store of tiny pieces whose SDK repeats nothing."""
    if kind == "gcs":
        return tiny_gcs_store(Bucket(place, endpoint=endpoint, retry_period=0))
    return tiny_azure_store(Container(place, client=client(endpoint)))


class Victim:
    """The parent's end of one life in a child process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._lines = process.stdout
        self._pid = int(self._lines.readline())

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def heard(self) -> Heard:
        """What it told until its end."""
        heard = Heard()
        while (line := self._lines.readline().split())[0] != "gone":
            heard.tell(line[0], int(line[1]))
        return heard


class Victims:
    """The process that makes victims."""

    def __init__(self, kind: str, endpoint: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.stores.ledger_victim", kind, endpoint]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self) -> Victims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, place: str, upload_id: str) -> Victim:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{place} {upload_id}\n")
        return Victim(self._process)


def _tell(what: str, offset: int) -> None:
    os.write(1, f"{what} {offset}\n".encode())


def _one_life(store: LedgerStore, upload_id: str) -> None:
    info = store.create(new_upload(upload_id))
    _tell("created", 0)
    info = live(store, info, _tell)
    store.terminate(info)
    _tell("terminated", 0)


def main(kind: str, endpoint: str) -> None:
    for line in sys.stdin:
        place, upload_id = line.split()
        child = os.fork()
        if child == 0:
            os.write(1, f"{os.getpid()}\n".encode())
            with suppress(Exception):
                _one_life(make_store(kind, endpoint, place), upload_id)
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"gone\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
