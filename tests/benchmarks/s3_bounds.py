"""What an upload through the command into S3 may cost, as bounds that a run of the benchmark keeps or breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

_MIB: Final = 1 << 20

#: Throughput beside boto3's own upload of the same bytes, with the same parts, as many at once.
LEAST_THROUGHPUT: Final = 0.9
#: Throughput of uploads beside stalled ones, of what the same uploads reach alone. A tenth is left to the machine.
LEAST_BESIDE_STALLED: Final = 0.9
#: Parts in memory beyond those in flight: one that fills, one that is handed over.
PARTS_BESIDE_FLIGHT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One run: seconds of each round, neighbours of one list at one place of the other; memory in bytes."""

    ours: Sequence[float]
    boto3: Sequence[float]
    alone: Sequence[float]
    beside: Sequence[float]
    memory: int
    part_size: int
    parts_in_flight: int

    @property
    def throughput(self) -> float:
        """Ours by boto3's."""
        return _median_ratio(self.boto3, self.ours)

    @property
    def beside_stalled(self) -> float:
        """Beside stalled uploads by alone."""
        return _median_ratio(self.alone, self.beside)

    @property
    def memory_allowed(self) -> int:
        return (self.parts_in_flight + PARTS_BESIDE_FLIGHT) * self.part_size


def broken(found: Found) -> list[str]:
    """A sentence for each bound that the run breaks."""
    said = []
    if found.throughput < LEAST_THROUGHPUT:
        said.append(f"throughput is {found.throughput:.3f} times boto3's, at least {LEAST_THROUGHPUT} was promised")
    if found.beside_stalled < LEAST_BESIDE_STALLED:
        least = LEAST_BESIDE_STALLED
        said.append(f"stalled uploads leave others {found.beside_stalled:.3f} of their speed, not {least} or more")
    if found.memory > found.memory_allowed:
        taken, allowed = found.memory / _MIB, found.memory_allowed / _MIB
        said.append(f"an upload takes {taken:.1f} MiB of memory, at most {allowed:.0f} were promised")
    return said


def _median_ratio(dividends: Sequence[float], divisors: Sequence[float]) -> float:
    """The median over the rounds: neighbours in time have the same machine."""
    return median(a / b for a, b in zip(dividends, divisors, strict=True))
