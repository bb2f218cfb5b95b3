"""Medians, percentiles and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Ratio:
    """Cost relative to the reference: the median over rounds of one run by its neighbour, and the extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, nearest rank; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1) + 0.5)]


def ratio(costs: Sequence[float | None], reference: Sequence[float | None]) -> Ratio | None:
    """Pair round by round, since neighbours in time share the machine's mood; None without a pair.

    A round in which either failed, or the reference cost nothing measurable, is left out.
    """
    pairs = [a / b for a, b in zip(costs, reference, strict=False) if a is not None and b]
    return Ratio(median(pairs), min(pairs), max(pairs)) if pairs else None


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what was measured, or None."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
