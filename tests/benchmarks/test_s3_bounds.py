"""The benchmark of S3 fails where a bound is broken, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.s3_bounds import Found, broken

MIB = 1 << 20
KEPT = Found(
    ours=[10.0, 11.0, 30.0],
    boto3=[9.1, 10.0, 27.1],
    alone=[3.0, 3.1, 3.0],
    beside=[3.2, 9.0, 3.3],
    memory=96 * MIB,
    part_size=8 * MIB,
    parts_in_flight=10,
)


def test_run_at_its_bounds_breaks_none() -> None:
    assert broken(KEPT) == []


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (replace(KEPT, ours=[10.2, 11.2, 20.0]), "throughput"),
        (replace(KEPT, beside=[3.4, 3.5, 3.0]), "stalled"),
        (replace(KEPT, memory=96 * MIB + 1), "memory"),
    ],
)
def test_each_bound_that_is_broken_is_told(found: Found, word: str) -> None:
    (said,) = broken(found)
    assert word in said
