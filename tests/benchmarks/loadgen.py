"""Running the load generator: load.c compiled once per process, or pyload.py where there is no compiler.

Options of both (sizes in bytes):

--mode tus|put|get|append   uploads; bare PUTs; GETs of --path; PATCHes to the upload at --path from --offset on
--connections C --uploads N how many connections share how many uploads (GETs, PUTs)
--size S --chunk K          an upload's length, and the most one PATCH carries (0: all)
--with-upload --head        the POST carries the body; a HEAD follows each upload
--create-first              the first upload of each connection is created before the clock starts
--range R                   GETs ask for R bytes at varying offsets of an object of S
--header LINE               one more field for requests with a body
--body FILE                 what bodies are made of, repeated from its start in each
--slow M --slow-interval T  M clients that each hold a PATCH open and send 256 bytes per T seconds
"""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_SAMPLE_INTERVAL = 0.1
_SETUP_TIMEOUT = 120.0
_RUN_TIMEOUT = 330.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What the clients saw. Seconds, bytes; latencies from a request's first byte to its answer's last."""

    wall: float
    requests: int
    uploads: int
    bytes: int
    errors: int
    error: str
    reconnects: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float
    slow_alive: int
    slow_bytes: int


class LoadFailed(Exception):
    """The load generator itself broke; says nothing about the server."""


def build(directory: Path) -> list[str]:
    """The load generator's command: the C program compiled into `directory`, else the Python one."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return [sys.executable, "-m", "tests.benchmarks.pyload"]
    program = directory / "load"
    if not program.exists():
        subprocess.run([compiler, "-O2", "-o", str(program), str(_HERE / "load.c")], check=True)
    return [str(program)]


class Load:
    """A started load generator: connected, waiting for `run`. Use as a context manager."""

    def __init__(self, command: Sequence[str], arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=_ROOT
        )

    def __enter__(self) -> Load:
        try:
            ready = self._line(_SETUP_TIMEOUT, lambda: None)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        if ready != "ready":
            self._process.kill()
            raise LoadFailed(self._why(ready))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, sample: Callable[[], None]) -> LoadResult:
        """Start the clock and wait for the end, calling `sample` ten times a second."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        line = self._line(_RUN_TIMEOUT, sample)
        if not line:
            raise LoadFailed(self._why(line))
        return LoadResult(**json.loads(line))

    def _line(self, timeout: float, sample: Callable[[], None]) -> str:
        assert self._process.stdout is not None
        for _ in range(int(timeout / _SAMPLE_INTERVAL)):
            if select.select([self._process.stdout], [], [], _SAMPLE_INTERVAL)[0]:
                return self._process.stdout.readline().decode().strip()
            sample()
        raise LoadFailed(f"the load generator said nothing for {timeout:.0f} s")

    def _why(self, line: str) -> str:
        self._process.kill()
        _, stderr = self._process.communicate()
        return stderr.decode(errors="replace").strip() or f"the load generator said {line!r}"
