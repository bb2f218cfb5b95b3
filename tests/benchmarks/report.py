"""From runs to medians and ratios, to a table and to JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.runner import Results, Run
from tests.benchmarks.scenarios import Case
from tests.benchmarks.stats import Ratio, middle, ratio

_MIB = 1 << 20
_PACKAGES = ("tuspy-server", "uvicorn", "uvloop", "httptools", "gunicorn", "granian", "hypercorn", "anyio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server in one case: medians over the rounds that succeeded, None where none did.

    `cost` is CPU seconds per unit, `rate` units per second; `cost_ratio` and `rate_ratio` compare with the reference.
    """

    server: str
    rounds: int
    cost: float | None
    rate: float | None
    p50: float | None
    p99: float | None
    rss_peak: float | None
    rss_added: float | None
    threads: float | None
    threads_added: float | None
    cost_ratio: Ratio | None
    rate_ratio: Ratio | None
    failed: str | None


def costs(runs: Sequence[Run]) -> list[float | None]:
    """CPU seconds per unit, round by round; None where the round failed."""
    return [None if run.failed or not run.amount else run.cpu / run.amount for run in runs]


def rates(runs: Sequence[Run]) -> list[float | None]:
    """Units per second, round by round."""
    return [None if run.failed or not run.wall else run.amount / run.wall for run in runs]


def rows(runs: dict[str, list[Run]], reference: str) -> list[Row]:
    """Cheapest first, failures last."""
    base = runs.get(reference, [])
    found = [_row(server, own, base) for server, own in runs.items()]
    return sorted(found, key=lambda row: (row.cost is None, row.cost or 0.0, row.server))


def _row(server: str, runs: list[Run], base: list[Run]) -> Row:
    good = [run for run in runs if not run.failed]
    return Row(
        server=server,
        rounds=len(good),
        cost=middle(costs(runs)),
        rate=middle(rates(runs)),
        p50=middle([run.p50 for run in good]),
        p99=middle([run.p99 for run in good]),
        rss_peak=middle([run.rss_peak for run in good]),
        rss_added=middle([run.rss_added for run in good]),
        threads=middle([run.threads for run in good]),
        threads_added=middle([run.threads_added for run in good]),
        cost_ratio=ratio(costs(runs), costs(base)),
        rate_ratio=ratio(rates(runs), rates(base)),
        failed=next((run.failed for run in runs if run.failed), None),
    )


def table(case: Case, found: Sequence[Row], reference: str) -> str:
    """The case as text: costs in s/GiB or us per request, ratios of cost (lower is better) with their extremes."""
    cost_unit, rate_unit = ("CPU s/GiB", "MiB/s") if case.unit == "GiB" else (f"CPU us/{case.unit}", f"{case.unit}s/s")
    head = (
        "server",
        "n",
        cost_unit,
        f"cost / {reference}",
        rate_unit,
        "p50 ms",
        "p99 ms",
        "RSS MiB",
        "+MiB",
        "threads",
        "+",
    )
    lines = [head, *(_cells(case, row) for row in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [
        "  ".join(_pad(cell, width, i) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    notes = [f"  {row.server}: {row.failed}" for row in found if row.failed]
    return "\n".join([f"{case.name}: {case.title}", *text, *notes])


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _cells(case: Case, row: Row) -> tuple[str, ...]:
    large = case.unit == "GiB"
    return (
        row.server,
        str(row.rounds),
        _number(row.cost, 1 if large else 1e6, 2 if large else 0),
        str(row.cost_ratio or "-"),
        _number(row.rate, 1024 if large else 1, 0),
        _number(row.p50, 1e3, 2),
        _number(row.p99, 1e3, 2),
        _number(row.rss_peak, 1 / _MIB, 0),
        _number(row.rss_added, 1 / _MIB, 1),
        _number(row.threads, 1, 0),
        _number(row.threads_added, 1, 0),
    )


def _number(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def environment() -> dict[str, str | int | dict[str, str]]:
    """What the numbers depend on, as far as it says nothing about whose machine it was."""
    return {
        "python": sys.version.split()[0],
        "kernel": platform.release().partition("-")[0],
        "machine": platform.machine(),
        "cores": os.cpu_count() or 0,
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_json(path: Path, cases: Sequence[Case], results: Results, reference: str) -> None:
    """Medians, ratios and every single run."""
    measured = {
        case.name: {
            "title": case.title,
            "unit": case.unit,
            "servers": [asdict(row) for row in rows(results[case.name], reference)],
            "runs": {server: [asdict(run) for run in runs] for server, runs in results[case.name].items()},
        }
        for case in cases
    }
    path.write_text(
        json.dumps({"environment": environment(), "reference": reference, "cases": measured}, indent=1) + "\n"
    )
