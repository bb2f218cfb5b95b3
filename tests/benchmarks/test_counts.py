"""The applications do no more per request, and per MiB, than they did: see counts.py."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import counts


@pytest.mark.parametrize("case", counts.CASES)
def test_a_request_does_no_more_than_it_did(case: str) -> None:
    baseline = json.loads(counts.BASELINE.read_text())
    same = baseline["python"] == counts.python_version()
    assert counts.growth(case, baseline["cases"][case], counts.measure(case), same) == []


def test_no_byte_of_a_body_is_copied_on_its_way_to_the_file() -> None:
    baseline = json.loads(counts.BASELINE.read_text())["cases"]
    assert [case for case, found in baseline.items() if found["bytes_copied"]] == []
