"""What an upload through the command into S3 costs beside boto3's own upload of the same bytes.

    python -m tests.benchmarks.s3 [--size MIB] [--rounds N]

Both write into one SeaweedFS, with parts of the same size and the same number at once. Prints, as JSON, seconds of
each round, the medians of their ratios, CPU seconds, the server's memory above what it took before, and how fast 4
uploads are beside 28 that stall. Fails where a bound of tests/benchmarks/s3_bounds is broken.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped, unused-ignore]  # types only by boto3-stubs

from tests.benchmarks.processes import Usage, reset_peak, usage
from tests.benchmarks.s3_bounds import Found, broken
from tests.servers import s3 as servers
from tests.servers.ports import free_port

MIB = 1024 * 1024
PART = 8 * MIB
CONCURRENCY = 10
BLOCK = os.urandom(MIB)
STALLED, LIVE = 28, 4


class Source(io.RawIOBase):
    """`size` bytes that cost nothing to make."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(self._left, size)
        self._left -= size
        return (BLOCK * (size // MIB + 1))[:size]


@dataclass
class Command:
    """A running tuspy-server."""

    port: int
    pid: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def usage(self) -> Usage:
        return usage(self.pid)


@contextmanager
def command(server: servers.S3Server) -> Iterator[Command]:
    port = free_port()
    environ = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": servers.KEY_ID,
        "AWS_SECRET_ACCESS_KEY": servers.SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    words = ["--host", "127.0.0.1", "--port", port, "--s3-bucket", servers.BUCKET, "--s3-endpoint", server.url]
    words += ["--s3-part-size", PART, "--s3-concurrent-part-uploads", CONCURRENCY]
    # A disk that is full of parts may let the locks' renewals, which lie on it too, wait for longer than 15 s.
    words += ["--lock-lease", "60s"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuspy_server", *map(str, words)], env=environ, stdout=log, stderr=log
        )
        try:
            _await(port, process)
            yield Command(port, process.pid)
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(30)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError("the command does not answer")


def create(to: Command, size: int) -> str:
    """A new upload; its path."""
    connection = to.connect()
    connection.request("POST", "/files/", headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(size)})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 201, answer.status
    connection.close()
    return urlsplit(answer.headers["Location"]).path


def begin(to: Command, path: str, size: int) -> http.client.HTTPConnection:
    """A PATCH whose body is still to come."""
    connection = to.connect()
    connection.putrequest("PATCH", path)
    fields = {"Tus-Resumable": "1.0.0", "Upload-Offset": 0, "Content-Length": size}
    for name, value in {**fields, "Content-Type": "application/offset+octet-stream"}.items():
        connection.putheader(name, str(value))
    connection.endheaders()
    return connection


def send(to: Command, size: int) -> float:
    """Upload `size` bytes in one request; the seconds it took."""
    started = time.perf_counter()
    connection = begin(to, create(to, size), size)
    for _ in range(size // MIB):
        connection.send(BLOCK)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 204, answer.status
    connection.close()
    return time.perf_counter() - started


def send_by_boto3(client: Any, size: int, number: int) -> float:
    config = TransferConfig(
        multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=CONCURRENCY, use_threads=True
    )
    started = time.perf_counter()
    client.upload_fileobj(Source(size), servers.BUCKET, f"boto3-{number}", Config=config)
    return time.perf_counter() - started


@dataclass
class Measured:
    """Seconds of each round, and what the server used."""

    ours: list[float] = field(default_factory=list)
    boto3: list[float] = field(default_factory=list)
    cpu: float = 0.0
    boto3_cpu: float = 0.0
    memory: int = 0


def throughput(to: Command, server: servers.S3Server, size: int, rounds: int) -> Measured:
    """Rounds in turn and in either order, so that what else the machine does strikes both alike."""
    client = server.client(max_pool_connections=CONCURRENCY)
    send(to, 2 * PART)
    send_by_boto3(client, 2 * PART, -1)
    reset_peak(to.pid)
    before, measured = to.usage(), Measured()
    for number in range(rounds):
        if number % 2:
            measured.ours.append(send(to, size))
        busy = time.process_time()
        measured.boto3.append(send_by_boto3(client, size, number))
        measured.boto3_cpu += (time.process_time() - busy) / rounds
        if not number % 2:
            measured.ours.append(send(to, size))
    after = to.usage()
    measured.cpu = (after.cpu - before.cpu) / rounds
    measured.memory = after.peak - before.rss
    return measured


def beside_stalled(to: Command, size: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of LIVE uploads at once: alone, and while STALLED others have sent half a part and gone quiet."""
    send(to, 2 * PART)
    alone, beside = list[float](), list[float]()
    for number in range(rounds):
        if number % 2:
            alone.append(_together(to, size))
        with stalled(to, size):
            beside.append(_together(to, size))
        if not number % 2:
            alone.append(_together(to, size))
    return alone, beside


@contextmanager
def stalled(to: Command, size: int) -> Iterator[None]:
    """Uploads that stay open and quiet; at the end the server has put away what they sent."""
    paths = [create(to, size) for _ in range(STALLED)]
    connections = [begin(to, path, size) for path in paths]
    for connection in connections:
        connection.send(BLOCK * (PART // MIB // 2))
    yield
    for connection in connections:
        assert not select.select([connection.sock], [], [], 0)[0], "the server gave a stalled upload up"
        connection.close()
    for path in paths:
        _await_offset(to, path, PART // 2)


def _await_offset(to: Command, path: str, offset: int) -> None:
    connection = to.connect()
    connection.request("HEAD", path, headers={"Tus-Resumable": "1.0.0"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.headers["Upload-Offset"] == str(offset), answer.status


def _together(to: Command, size: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(LIVE) as threads:
        list(threads.map(send, [to] * LIVE, [size] * LIVE))
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.s3", description=__doc__)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of one upload")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there as well")
    options = parser.parse_args(arguments)
    size = options.size * MIB
    server = servers.seaweedfs()
    with command(server) as to:
        measured = throughput(to, server, size, options.rounds)
    servers.end_seaweedfs()  # it frees no disk in time for another ten gigabytes
    with command(servers.seaweedfs()) as to:
        alone, beside = beside_stalled(to, max(size // 8, 2 * PART), options.rounds)
    found = Found(
        ours=measured.ours,
        boto3=measured.boto3,
        alone=alone,
        beside=beside,
        memory=measured.memory,
        part_size=PART,
        parts_in_flight=CONCURRENCY,
    )
    text = json.dumps(_table(options.size, measured, found), indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    if said := broken(found):
        sys.exit("\n".join(said))


def _table(size: int, measured: Measured, found: Found) -> dict[str, Any]:
    return {
        "size_mib": size,
        "seconds_ours": _rounded(found.ours),
        "seconds_boto3": _rounded(found.boto3),
        "throughput_by_boto3s": round(found.throughput, 3),
        "cpu_seconds_of_the_server": round(measured.cpu, 2),
        "cpu_seconds_of_boto3": round(measured.boto3_cpu, 2),
        "memory_mib": round(found.memory / MIB, 1),
        "memory_allowed_mib": found.memory_allowed // MIB,
        "seconds_of_4_alone": _rounded(found.alone),
        "seconds_of_4_beside_28_stalled": _rounded(found.beside),
        "speed_beside_stalled_by_alone": round(found.beside_stalled, 3),
    }


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(each, 2) for each in seconds]


if __name__ == "__main__":
    main()
