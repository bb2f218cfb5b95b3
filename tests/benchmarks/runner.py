"""Runs cases: one server at a time on its own core, servers taking turns within each round."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import loadgen
from tests.benchmarks.processes import pinned, reset_peak, usage
from tests.benchmarks.scenarios import Case, Plan, Target
from tests.benchmarks.servers import Place, Server
from tests.servers.ports import free_port

SERVER_CORE, LOAD_CORE = 0, 1
_START_TIMEOUT = 20.0
_MOST_TOUCHED = 3 << 30
_WARM_UP = ["--connections", "4", "--uploads", "64", "--size", "16384"]
_ROOT = Path(__file__).parent.parent.parent


class ServerFailed(Exception):
    """The server did not start, or did not do what the case needs before the clock started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One case against one server, once. Seconds and bytes; `amount` in the case's unit; `failed` says why if it did.

    `rss_added` is the peak above the size after warming up, `threads_added` likewise.
    """

    amount: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    rss_peak: int = 0
    rss_added: int = 0
    threads: int = 0
    threads_added: int = 0
    slow_alive: int = 0
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how to run. `fast` is on tmpfs, `disk` on a real file system; both are removed by `workplace`."""

    fast: Path
    disk: Path
    load: list[str]
    body: Path
    scale: float = 1.0


@contextmanager
def workplace(scale: float = 1.0, disk: Path | None = None) -> Iterator[Bench]:
    """Scratch directories, the compiled load generator and the file that bodies are made of."""
    memory = Path("/dev/shm")
    fast = Path(tempfile.mkdtemp(prefix="tuspy-bench-", dir=memory if memory.is_dir() else None))
    slow = Path(tempfile.mkdtemp(prefix="tuspy-bench-", dir=disk))
    try:
        body = fast / "body"
        body.write_bytes(os.urandom(1 << 20))
        yield Bench(fast=fast, disk=slow, load=loadgen.build(fast), body=body, scale=scale)
    finally:
        shutil.rmtree(fast, ignore_errors=True)
        shutil.rmtree(slow, ignore_errors=True)


@contextmanager
def running(server: Server, place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """The started server, accepting connections; its process group is killed afterwards."""
    log = _log(place)
    with log.open("wb") as output, pinned(SERVER_CORE):
        process = subprocess.Popen(
            server.command(place),
            env=server.variables(place),
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_port(process, place)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.unlink()


def _log(place: Place) -> Path:
    return place.directory.with_name(place.directory.name + ".log")


def _last_words(place: Place) -> str:
    said = _log(place).read_text(errors="replace").strip().splitlines()
    return said[-1] if said else "nothing"


def _await_port(process: subprocess.Popen[bytes], place: Place) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", place.port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise ServerFailed(f"did not start; it said: {_last_words(place)}")


def measure(case: Case, server: Server, bench: Bench) -> Run:
    """Start the server in a fresh directory, warm it up, prepare the case, run it, and read what it cost."""
    directory = Path(tempfile.mkdtemp(dir=bench.disk if case.on_disk else bench.fast))
    place = Place(port=free_port(), directory=directory, durability=case.durability)
    try:
        with running(server, place) as process, pinned(LOAD_CORE):
            target = Target(server=server, place=place, body=bench.body)
            _warm_up(target, bench)
            return _timed(process.pid, target, case.prepare(target, bench.scale), bench)
    except (ServerFailed, loadgen.LoadFailed, OSError, RuntimeError) as error:
        return Run(failed=str(error) or type(error).__name__)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _arguments(target: Target, bench: Bench, more: Sequence[str]) -> list[str]:
    place = ["--port", str(target.place.port), "--path", target.server.path, "--body", str(bench.body)]
    return [*place, *more]


def _warm_up(target: Target, bench: Bench) -> None:
    mode = ["--mode", "put"] if target.server.puts else []
    with loadgen.Load(bench.load, _arguments(target, bench, [*mode, *_WARM_UP])) as load:
        result = load.run(lambda: None)
    if result.errors:
        raise ServerFailed(f"while warming up, {_complaint(result.errors, result.error, target.place)}")


def _complaint(errors: int, first: str, place: Place) -> str:
    return f"{errors} errors, first: {first}; the server's last line: {_last_words(place)}"


def _timed(pid: int, target: Target, plan: Plan, bench: Bench) -> Run:
    idle = usage(pid)
    reset_peak(pid)
    threads = [idle.threads]

    def sample() -> None:
        threads.append(usage(pid).threads)

    touch(bench.fast / "touch", plan.stored)  # before connecting: servers close connections that idle for long
    arguments = plan.puts if target.server.puts and plan.puts is not None else plan.arguments
    with loadgen.Load(bench.load, _arguments(target, bench, arguments)) as load:
        before = usage(pid)
        result = load.run(sample)
        after = usage(pid)
    return Run(
        amount=plan.amount,
        cpu=after.cpu - before.cpu,
        wall=result.wall,
        p50=result.p50,
        p99=result.p99,
        rss_peak=after.peak,
        rss_added=after.peak - idle.rss,
        threads=max(*threads, before.threads, after.threads),
        threads_added=max(*threads, before.threads, after.threads) - idle.threads,
        slow_alive=result.slow_alive,
        failed=_complaint(result.errors, result.error, target.place) if result.errors else None,
    )


def touch(path: Path, size: int) -> None:
    """Fill and free `size` bytes of memory at `path`, a file on tmpfs.

    A virtual machine may have given free memory back to its host; taking it again costs page faults there, which
    look like the server's CPU time here and made the same run up to four times dearer. Fresh from this, the pages are
    still the machine's own.
    """
    block = bytes(1 << 20)
    with path.open("wb", buffering=0) as file:
        for _ in range(min(size + size // 8, _MOST_TOUCHED) >> 20):
            file.write(block)
    path.unlink()


Results = dict[str, dict[str, list[Run]]]


def campaign(
    cases: Sequence[Case], servers: Sequence[Server], rounds: int, bench: Bench, tell: Callable[[str], None]
) -> Results:
    """`rounds` runs of each case against each server that suits it: results[case][server], in round order.

    The order of servers rotates from round to round, so that none always follows the same neighbour. A server
    that failed in the first round of a case is not tried again there.
    """
    results: Results = {}
    for case in cases:
        fit = [server for server in servers if case.suits(server)]
        runs: dict[str, list[Run]] = {server.name: [] for server in fit}
        results[case.name] = runs
        for turn in range(rounds):
            shift = turn % max(len(fit), 1)
            for server in fit[shift:] + fit[:shift]:
                before = runs[server.name]
                if before and all(run.failed for run in before):
                    continue
                run = measure(case, server, bench)
                before.append(run)
                tell(f"{case.name:24} {server.name:20} {turn + 1}/{rounds}  {_outcome(case, run)}")
    return results


def _outcome(case: Case, run: Run) -> str:
    if run.failed:
        return f"FAILED: {run.failed}"
    return f"{run.cpu:.2f} s CPU, {run.wall:.2f} s for {run.amount:g} {case.unit}"
