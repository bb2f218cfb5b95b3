"""Leads uploads in child processes, each killed at a later call to S3.

    python -m tests.stores.s3_killed URL MIN_PART_SIZE PREFIX DIRECTORY FAULT FIRST LAST STRIDE

Child n works under PREFIX/n/ and writes what happened to DIRECTORY/n. Prints how many were killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.servers import s3 as servers
from tests.servers.s3_faults import Fault, Faults
from tests.stores.s3_client import Upload
from tuspy_server.backends.s3 import Bucket
from tuspy_server.models import Kind
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits


def content(name: str, unit: int) -> bytes:
    """The bytes of the upload called so."""
    sizes = {"plain": 13 * unit // 2, "part": 2 * unit, "small": unit // 2}
    size = sizes["part"] + sizes["small"] if name == "final" else sizes[name]
    seed = bytes(n * 31 % 251 for n in range(251))
    return (seed * (size // 251 + 1))[:size] if name != "final" else content("part", unit) + content("small", unit)


def store_on(server: servers.S3Server, prefix: str, fault: Fault | None = None, at: int = -1) -> S3Store:
    client = server.client()
    Faults(client, fault, at)
    limits = PartLimits(part_size=2 * server.min_part_size, min_part_size=server.min_part_size)
    return S3Store(Bucket(servers.BUCKET, client=client), prefix=prefix, limits=limits, concurrency=3)


def lead(store: S3Store, unit: int, told: Callable[[str, str, int], None]) -> None:
    """A plain upload in several appends, then a final of two parts; all of them terminated in the end."""

    def teller(name: str, box: list[Upload]) -> Callable[[str, int], None]:
        return lambda event, value: told(f"{name} {box[0].id}", event, value)

    def new(name: str, kind: Kind = Kind.REGULAR, fenced: bool = True) -> Upload:
        box: list[Upload] = []
        upload = Upload(store, content(name, unit), fenced=fenced, kind=kind, tell=teller(name, box))
        box.append(upload)
        upload.tell("sent", 0)
        return upload

    plain = new("plain")
    for stop in (unit // 3, 2 * unit - 1, 3 * unit + 7, len(plain.data)):
        plain.append_to(stop)
    plain.finish()
    plain.terminate()
    parts = [new("part", Kind.PARTIAL), new("small", Kind.PARTIAL, fenced=False)]
    for part in parts:
        part.append_to(len(part.data))
        part.finish()
    final = new("final", Kind.FINAL)
    final.concat(parts)
    final.finish()


def work(server: servers.S3Server, prefix: str, log: Path, fault: Fault, at: int) -> None:
    """Lead uploads and write down what happens, one whole line at a time."""
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(name: str, event: str, value: int) -> None:
        os.write(told, f"{name} {event} {value}\n".encode())

    lead(store_on(server, prefix, fault, at), server.min_part_size, tell)


def main(url: str, min_part_size: str, prefix: str, directory: str, fault: str, *turns: str) -> None:
    server = servers.S3Server("given", url, int(min_part_size))
    killed = 0
    server.client().close()  # the children inherit what it has read
    for turn in range(*map(int, turns)):
        pid = os.fork()
        if not pid:
            work(server, f"{prefix}{turn}/", Path(directory, str(turn)), Fault[fault], turn)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert not os.WEXITSTATUS(status)
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
    print(killed)


if __name__ == "__main__":
    main(*sys.argv[1:])
