"""Small requests leave the event loop when the store is slow, and only then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import anyio
import httpx
import pytest

from tuspy_server import ASGIApp, MemoryStore
from tuspy_server.gauge import AT_FIRST, LONG, MOST, QUICK, SHORTEST_BAR, Gauge, sleeps
from tuspy_server.lockers.memory import MemoryLocker
from tuspy_server.models import UploadInfo

linux = pytest.mark.skipif(sys.platform != "linux", reason="nobody counts there how often a thread sleeps")


def sleep() -> None:
    time.sleep(3 * QUICK)


def burn() -> None:
    until = time.perf_counter() + 3 * QUICK
    while time.perf_counter() < until:
        pass


def runs(gauge: Gauge, work: Callable[[], None], most: int = 1000) -> int:
    """How often `work` ran before the gauge forbade it."""
    for count in range(most):
        if not gauge.is_fast:
            return count
        gauge.run(work)
    return most


def test_a_store_that_sleeps_is_left_within_a_few_requests() -> None:
    assert runs(Gauge(), sleep) <= 2 + AT_FIRST // 3


@linux
def test_only_who_waits_is_found_asleep() -> None:
    counted = []
    for work in (burn, sleep):
        before = sleeps()
        work()
        counted.append(sleeps() != before)
    assert counted == [False, True]


@linux
def test_work_that_is_slow_without_sleeping_stays_on_the_loop() -> None:
    gauge = Gauge()
    for _ in range(10 * MOST):
        gauge.observe(3 * QUICK, has_slept=False)
    assert gauge.is_fast


def test_one_long_run_is_enough_whoever_is_to_blame() -> None:
    gauge = Gauge()
    gauge.observe(LONG)
    assert not gauge.is_fast


@linux
def test_a_slow_request_is_a_reason_to_look_closer_for_a_while() -> None:
    gauge = Gauge()
    gauge.observe(3 * QUICK)
    assert gauge.is_fast
    for _ in range(MOST - 1):
        gauge.observe(QUICK / 2)
    gauge.run(lambda: time.sleep(LONG * 0.9))
    assert gauge._purse < MOST


def test_the_loop_is_tried_again_and_left_for_longer_after_each_relapse(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    gauge, bar, tried = Gauge(), SHORTEST_BAR, []
    for _ in range(3):
        gauge.observe(1.0)
        for share in (0.99, 0.02):
            now += bar * share
            tried.append(gauge.is_fast)
        bar *= 2
    assert tried == [False, True] * 3


def test_quick_requests_earn_what_a_hiccup_costs() -> None:
    gauge = Gauge()
    for _ in range(2 * MOST):
        gauge.observe(QUICK / 2)
    gauge.observe(LONG, has_slept=True)
    assert gauge.is_fast


def test_an_app_over_a_slow_store_moves_its_small_requests_into_threads() -> None:
    class SlowStore(MemoryStore):
        is_local = True
        threads: list[threading.Thread] = []  # noqa: RUF012 - of this one test

        def create(self, info: UploadInfo, /) -> UploadInfo:
            self.threads.append(threading.current_thread())
            sleep()
            return super().create(info)

    async def create(times: int) -> None:
        transport = httpx.ASGITransport(ASGIApp(store))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for _ in range(times):
                answer = await client.post("/", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "1"})
                assert answer.status_code == 201

    assert getattr(MemoryLocker, "is_local", False)
    store = SlowStore()
    anyio.run(create, 20)
    loop = threading.current_thread()
    assert store.threads[0] is loop
    assert loop not in store.threads[10:]
