"""The background thread of lockers: there when needed, parked when not, gone in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tuspy_server.lockers.worker import Worker


class Steps:
    """Work to do, and the threads that did it."""

    def __init__(self) -> None:
        self.work = 0
        self.done = threading.Event()
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> float | None:
        self.threads.add(threading.current_thread())
        if not self.work:
            return None
        self.work -= 1
        if not self.work:
            self.done.set()
        return 0.001

    def bring(self, worker: Worker) -> None:
        self.done.clear()
        self.work = 3
        worker.wake()
        assert self.done.wait(5)


@pytest.fixture
def steps() -> Steps:
    return Steps()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_thread_serves_a_row_of_requests(steps: Steps) -> None:
    worker = Worker("test", steps)
    for _ in range(20):
        steps.bring(worker)
    assert len(steps.threads) == 1


def test_a_parked_worker_wakes(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuspy_server.lockers.worker._LINGER", 0.0)
    worker = Worker("test", steps)
    steps.bring(worker)
    eventually(lambda: worker.parked)
    steps.bring(worker)
    assert len(steps.threads) == 1


def test_a_worker_that_was_parked_long_ends_and_another_starts(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuspy_server.lockers.worker._LINGER", 0.0)
    monkeypatch.setattr("tuspy_server.lockers.worker._PARKED_LIFETIME", 0.0)
    worker = Worker("test", steps)
    steps.bring(worker)
    eventually(lambda: not any(thread.is_alive() for thread in steps.threads))
    steps.bring(worker)
    assert len(steps.threads) == 2


def test_no_work_is_overlooked_while_the_worker_parks_and_ends(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuspy_server.lockers.worker._LINGER", 0.0)
    monkeypatch.setattr("tuspy_server.lockers.worker._PARKED_LIFETIME", 0.0002)
    worker = Worker("test", steps)
    for _ in range(500):
        steps.bring(worker)


def test_a_failing_step_is_tried_again(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tuspy_server.lockers.worker._FAILURE_PAUSE", 0.0)
    failures = [ZeroDivisionError(), ZeroDivisionError()]

    def fail_first() -> float | None:
        if failures:
            raise failures.pop()
        return steps()

    steps.bring(Worker("test", fail_first))
    assert len(steps.threads) == 1
    assert [record.message for record in caplog.records] == ["test failed"] * 2
