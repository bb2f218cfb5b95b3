"""What a process and all its descendants cost, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Cost of a process tree: CPU in seconds (user and system, ended children included), memory in bytes."""

    cpu: float
    rss: int
    peak: int
    threads: int


def tree(pid: int) -> list[int]:
    """`pid` and its living descendants; empty if it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    found = [pid]
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def usage(pid: int) -> Usage:
    """Sum over the tree of `pid`. Shared pages count once per process, so memory is an upper bound."""
    found = [one for one in map(_usage_of_one, tree(pid)) if one is not None]
    return Usage(
        cpu=sum(one.cpu for one in found),
        rss=sum(one.rss for one in found),
        peak=sum(one.peak for one in found),
        threads=sum(one.threads for one in found),
    )


def _usage_of_one(pid: int) -> Usage | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return Usage(
        cpu=cpu_of_stat(stat),
        rss=size_of_status(status, "VmRSS"),
        peak=size_of_status(status, "VmHWM"),
        threads=int(field_of_status(status, "Threads") or 0),
    )


def cpu_of_stat(stat: str) -> float:
    """Seconds of utime, stime, cutime and cstime. The command's name may hold blanks and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICK


def size_of_status(status: str, name: str) -> int:
    """A `kB` line of /proc/<pid>/status in bytes; 0 where a dying process has none."""
    value = field_of_status(status, name)
    return int(value.split()[0]) * 1024 if value else 0


def field_of_status(status: str, name: str) -> str | None:
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return None


def reset_peak(pid: int) -> None:
    """Let VmHWM of the whole tree start again from the present size, where the kernel allows it."""
    for one in tree(pid):
        try:
            Path(f"/proc/{one}/clear_refs").write_text("5")
        except OSError:
            continue


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes started inside inherit the one core. None, or a machine with one core, pins nothing."""
    before = os.sched_getaffinity(0)
    if core is None or len(before) < 2:
        yield
        return
    os.sched_setaffinity(0, {sorted(before)[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
