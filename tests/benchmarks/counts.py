"""A regression gate that no machine can blur: what one request, or one MiB, makes the application do.

`python -m tests.benchmarks.counts` compares with counts.json and exits 1 where something grew; `--write` makes the
present counts the baseline. Counted in process, without a server: system calls that touch files (strace), Python
calls, hops into worker threads, and body bytes written from a copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
BASELINE = _HERE / "counts.json"
CASES = ("asgi/small", "asgi/large", "inline/small", "wsgi/small", "wsgi/large")

_ROOT = _HERE.parent.parent
_FEW, _MANY = {"small": 10, "large": 1}, {"small": 30, "large": 3}
_UNITS = {"small": 1, "large": 32}

# Waiting and memory depend on the scheduler and the allocator; what is done to files does not.
_FILE_CALLS = frozenset((_HERE / "file_calls.txt").read_text().split())


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a count may rise: a share of the baseline, or this much per unit, whichever is more."""

    share: float
    absolute: float

    def allows(self, before: float, now: float) -> bool:
        return now <= before + max(before * self.share, self.absolute)


# Loop wake-ups (a byte through the self-pipe) come and go with the scheduler: hence the room for read and write.
_TOLERANCES: Mapping[str, Tolerance] = {
    "hops": Tolerance(0.0, 0.05),
    "package_calls": Tolerance(0.10, 0.5),
    "calls": Tolerance(0.10, 2.0),
    "bytes_copied": Tolerance(0.01, 64.0),
    "syscall:read": Tolerance(0.15, 0.5),
    "syscall:write": Tolerance(0.15, 0.5),
}
_SYSCALL = Tolerance(0.03, 0.15)
_PYTHON_CALLS = frozenset({"calls", "package_calls"})

Counts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """A count that rose beyond its tolerance."""

    case: str
    name: str
    before: float
    now: float

    def __str__(self) -> str:
        return f"{self.case}: {self.name} rose from {self.before:g} to {self.now:g}"


def measure(case: str) -> Counts:
    """All counts of one case per unit; system calls only where strace works."""
    colour, _, scenario = case.partition("/")
    printed = _run([*_driver(colour, scenario, _MANY[scenario]), "--profile"])
    counts: Counts = json.loads(printed)
    if can_trace():
        few = _system_calls(colour, scenario, _FEW[scenario])
        many = _system_calls(colour, scenario, _MANY[scenario])
        units = (_MANY[scenario] - _FEW[scenario]) * _UNITS[scenario]
        for name in sorted(many):
            counts[f"syscall:{name}"] = max(0, many[name] - few.get(name, 0)) / units
    return {name: round(value, 3) for name, value in counts.items() if value >= 0.001 or name in _TOLERANCES}


@cache
def can_trace() -> bool:
    """Whether strace is there and this machine lets it work."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-c", "true"], capture_output=True).returncode == 0


def growth(case: str, before: Counts, now: Counts, same_python: bool) -> list[Growth]:
    """What rose. Python calls are compared only under the Python that made the baseline."""
    found = []
    for name, value in now.items():
        if name in _PYTHON_CALLS and not same_python:
            continue
        tolerance = _TOLERANCES.get(name, _SYSCALL)
        if not tolerance.allows(before.get(name, 0.0), value):
            found.append(Growth(case, name, before.get(name, 0.0), value))
    return found


def parse_strace(summary: str) -> dict[str, int]:
    """Calls per file system call from `strace -c`: the fourth column counts, the last one names."""
    found = {}
    for line in summary.splitlines():
        columns = line.split()
        if len(columns) >= 5 and columns[3].isdigit() and columns[-1] in _FILE_CALLS:
            found[columns[-1]] = int(columns[3])
    return found


def _driver(colour: str, scenario: str, repeats: int) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.driver", colour, scenario, str(repeats)]


def _system_calls(colour: str, scenario: str, repeats: int) -> dict[str, int]:
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as summary:
        _run(["strace", "-f", "-c", "-o", summary.name, *_driver(colour, scenario, repeats)])
        return parse_strace(summary.read())


def _run(command: list[str]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        variables = {**os.environ, "BENCH_DIRECTORY": directory, "BENCH_DURABILITY": "none"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=variables)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> int:
    now = {case: measure(case) for case in CASES}
    if "--write" in sys.argv:
        BASELINE.write_text(json.dumps({"python": python_version(), "cases": now}, indent=1, sort_keys=True) + "\n")
        return 0
    baseline = json.loads(BASELINE.read_text())
    same = baseline["python"] == python_version()
    grown = [one for case in CASES for one in growth(case, baseline["cases"].get(case, {}), now[case], same)]
    print(json.dumps(now, indent=1, sort_keys=True))
    for one in grown:
        print(one, file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
