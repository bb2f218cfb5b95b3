"""When a lock without a lease of the service's own is dead, and calls in parallel."""

from __future__ import annotations

import threading

import pytest

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.polled import Pool, Sightings


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tuspy_server.lockers.polled.now", clock)
    return clock


def test_a_record_that_stays_the_same_for_a_lease_is_dead(clock: Clock) -> None:
    sightings = Sightings()
    assert not sightings.is_dead("a", 1, 10.0)
    clock.now += 9.9
    assert not sightings.is_dead("a", 1, 10.0)
    clock.now += 0.1
    assert sightings.is_dead("a", 1, 10.0)


def test_a_record_that_changes_is_alive(clock: Clock) -> None:
    sightings = Sightings()
    for version in range(5):
        assert not sightings.is_dead("a", version, 10.0)
        clock.now += 9.0


def test_a_record_seen_before_it_was_free_starts_anew(clock: Clock) -> None:
    sightings = Sightings()
    assert not sightings.is_dead("a", 1, 10.0)
    sightings.forget("a")
    clock.now += 10.0
    assert not sightings.is_dead("a", 1, 10.0)


def test_sightings_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuspy_server.lockers.polled._SIGHTINGS", 3)
    sightings = Sightings()
    for name in "abcd":
        sightings.is_dead(name, 1, 10.0)
    clock.now += 10.0
    assert not sightings.is_dead("a", 1, 10.0)
    assert sightings.is_dead("d", 1, 10.0)


def test_calls_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)
    assert set(Pool().each(lambda key: meeting.wait(), "abc")) == {"a", "b", "c"}


def test_one_unanswered_call_spoils_no_other() -> None:
    def call(key: int) -> int:
        if key == 2:
            raise LockerUnavailable
        return key * 10

    assert Pool().each(call, [1, 2, 3]) == {1: 10, 3: 30}
    with pytest.raises(LockerUnavailable):
        Pool().each(call, [2, 2])
    with pytest.raises(LockerUnavailable):
        Pool().each(call, [2])
