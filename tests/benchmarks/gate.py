"""The promises that a run of the benchmark can keep or break, as ratios within one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.report import costs
from tests.benchmarks.runner import Results
from tests.benchmarks.stats import middle, ratio

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """In `case`, `server` costs at most `limit` times what `reference` costs; without one, adds at most `limit` MiB."""

    case: str
    server: str
    reference: str | None
    limit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a promise; `measured` is None where it could not be measured, which is not keeping it."""

    promise: Promise
    measured: float | None
    text: str

    @property
    def kept(self) -> bool:
        return self.measured is not None and self.measured <= self.promise.limit


PROMISES: tuple[Promise, ...] = (
    Promise(case="large", server="ours-uvicorn", reference="bare-uvicorn", limit=1.25),
    Promise(case="small16", server="ours-uvicorn", reference="bare-uvicorn", limit=2.5),
    Promise(case="large", server="ours-gunicorn", reference="bare-gunicorn", limit=1.25),
    Promise(case="small16", server="ours-gunicorn", reference="bare-gunicorn", limit=2.5),
    Promise(case="memory", server="ours-uvicorn", reference=None, limit=16),
    Promise(case="memory", server="ours-gunicorn", reference=None, limit=16),
)


def judge(results: Results, promises: Sequence[Promise] = PROMISES) -> list[Verdict]:
    """One verdict per promise, from the runs of one campaign."""
    return [_judge(results, promise) for promise in promises]


def _judge(results: Results, promise: Promise) -> Verdict:
    runs = results.get(promise.case, {})
    own = runs.get(promise.server, [])
    if promise.reference is None:
        added = middle([None if run.failed else run.rss_added / _MIB for run in own])
        return _verdict(promise, added, f"adds {_shown(added)} MiB of memory, at most {promise.limit:g}")
    found = ratio(costs(own), costs(runs.get(promise.reference, [])))
    text = f"costs {found or 'nothing measured'} times {promise.reference}, at most {promise.limit:g}"
    return _verdict(promise, found.median if found else None, text)


def _verdict(promise: Promise, measured: float | None, text: str) -> Verdict:
    return Verdict(promise, measured, f"{promise.case}: {promise.server} {text}")


def _shown(value: float | None) -> str:
    return "an unknown amount of" if value is None else f"{value:.1f}"
