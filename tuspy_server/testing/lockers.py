"""What every locker must keep: a conformance suite for your own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import ClassVar, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tuspy_server.testing.locker_processes import (
    Board,
    HeldLock,
    LockerProcess,
    MakeLocker,
    Processes,
    SettledLocker,
    churn,
)

T = TypeVar("T")

HOSTILE_IDS = (
    "",
    ".",
    "../../../etc/passwd",
    "a/b",
    "a\\b",
    "a%2Fb",
    "a b\tc\r\nd",
    "nul\0nul",
    "semi;colon'quote\"{}*?[]",
    "ünïcode-\N{SNOWMAN}",
    "surrogate-\udcff",
    "x" * 5000,
    "x" * 5000 + "y",
    "UPPER",
    "upper",
)


class LockerSuite:
    """Subclass it with a fixture `make_locker` that returns a callable without arguments.

    The callable makes a new locker on the same back end each time. It is pickled and called in other processes
    too, so it is `functools.partial` of something importable, such as a class:

        class TestMyLocker(LockerSuite):
            crash_limit = 12.0

            @pytest.fixture
            def make_locker(self, tmp_path):
                return functools.partial(MyLocker, tmp_path)

    Methods of the locker may be `def` or `async def`; `close()` is called if it has one. Limits are seconds; the
    machine's load counts, so leave air.
    """

    across_processes: ClassVar[bool] = True
    """Whether lockers of several processes exclude each other."""
    lease: ClassVar[float | None] = None
    """Seconds after which a holder that gives no sign of life loses its lock; None if it never does."""
    try_limit: ClassVar[float] = 0.5
    """What one `try_lock` may take."""
    handover_limit: ClassVar[float] = 0.5
    """From asking to having, where the holder lets go at once: median of `handovers`."""
    handovers: ClassVar[int] = 5
    crash_limit: ClassVar[float] = 1.0
    """After the holder's death."""
    wish_limit: ClassVar[float] = 3.0
    """How long a holder may still be asked after nobody wants the upload any more."""
    processes: ClassVar[int] = 4
    threads: ClassVar[int] = 8
    seconds: ClassVar[float] = 1.0
    """Of the churn of processes that looks for two holders at once. Short form; a campaign raises it."""
    thread_seconds: ClassVar[float] = 0.5
    """The same among threads."""

    @pytest.fixture
    def portal(self) -> Iterator[BlockingPortal]:
        with start_blocking_portal() as portal:
            yield portal

    @pytest.fixture
    def locker(self, make_locker: MakeLocker, portal: BlockingPortal) -> Iterator[SettledLocker]:
        locker = make_locker()
        yield SettledLocker(locker, portal)
        getattr(locker, "close", bool)()

    @pytest.fixture
    def others(self) -> Iterator[Processes]:
        if not self.across_processes:
            pytest.skip("this locker serves one process")
        with ExitStack() as stack:
            yield Processes(stack)

    @pytest.fixture
    def other(self, others: Processes, make_locker: MakeLocker) -> LockerProcess:
        return others.start(make_locker)

    # One process

    def test_only_one_holds_an_upload(self, locker: SettledLocker) -> None:
        assert _taken(locker, "a").alive
        assert locker.try_lock("a") is None

    def test_a_released_lock_goes_to_the_next(self, locker: SettledLocker) -> None:
        first = _taken(locker, "a")
        first.release()
        assert not first.alive
        assert _taken(locker, "a").alive

    def test_releasing_twice_leaves_the_next_holder_alone(self, locker: SettledLocker) -> None:
        first = _taken(locker, "a")
        first.release()
        second = _taken(locker, "a")
        first.release()
        assert second.alive
        assert not first.alive
        assert locker.try_lock("a") is None

    def test_trying_never_waits(self, locker: SettledLocker) -> None:
        _held = _taken(locker, "a")
        started = time.monotonic()
        assert locker.try_lock("a") is None
        assert time.monotonic() - started < self.try_limit

    def test_uploads_do_not_disturb_each_other(self, locker: SettledLocker) -> None:
        held = [_taken(locker, f"upload-{n}") for n in range(50)]
        held[0].release()
        locker.request_release("upload-1")
        assert held[1].asked.wait(self.handover_limit)
        assert all(lock.alive and not lock.asked.is_set() for lock in held[2:])

    def test_any_string_names_a_lock_of_its_own(self, locker: SettledLocker) -> None:
        held = {upload_id: _taken(locker, upload_id) for upload_id in HOSTILE_IDS}
        for upload_id, lock in held.items():
            assert locker.try_lock(upload_id) is None
            lock.release()
            _taken(locker, upload_id).release()

    def test_the_holder_is_asked_to_let_go(self, locker: SettledLocker) -> None:
        held = _taken(locker, "a")
        locker.request_release("a")
        assert held.asked.wait(self.handover_limit)
        assert held.alive
        assert not held.lost.is_set()

    def test_asking_for_a_free_upload_harms_nobody(self, locker: SettledLocker) -> None:
        locker.request_release("a")
        assert _taken(locker, "a").alive

    def test_any_thread_may_take_ask_and_release(self, locker: SettledLocker) -> None:
        held = _in_thread(lambda: _taken(locker, "a"))
        _in_thread(lambda: locker.request_release("a"))
        assert held.asked.wait(self.handover_limit)
        _in_thread(held.release)
        assert _taken(locker, "a").alive

    def test_a_holder_in_this_process_hands_over(self, locker: SettledLocker) -> None:
        held = _taken(locker, "a")
        releaser = threading.Thread(target=held.release_when_asked)
        releaser.start()
        taken = locker.wait_for("a", self.handover_limit + 1)
        releaser.join()
        assert taken is not None

    def test_tokens_grow_with_every_acquisition(self, locker: SettledLocker) -> None:
        tokens = []
        for _ in range(20):
            held = _taken(locker, "a")
            tokens.append(held.token)
            held.release()
        if tokens[0] is None:
            assert set(tokens) == {None}
        else:
            _assert_growing(tokens)

    def test_threads_exclude_each_other(self, locker: SettledLocker, tmp_path: Path) -> None:
        board, ids = Board(tmp_path / "board", 2), ("a", "b")
        with ThreadPoolExecutor(self.threads) as pool:
            work = [pool.submit(churn, locker, board, ids, self.thread_seconds, n + 1) for n in range(self.threads)]
            _assert_no_overlap(board, ids, [each.result() for each in work])

    # Several processes

    def test_another_process_holds_it_too(self, locker: SettledLocker, other: LockerProcess) -> None:
        assert other.lock("a")
        assert locker.try_lock("a") is None
        assert _taken(locker, "b").alive
        assert not other.lock("b")
        other.release("a")
        assert _taken(locker, "a").alive

    def test_two_lockers_of_one_process_exclude_each_other(
        self, make_locker: MakeLocker, locker: SettledLocker, other: LockerProcess, portal: BlockingPortal
    ) -> None:
        made = make_locker()
        second = SettledLocker(made, portal)
        held = _taken(locker, "a")
        assert second.try_lock("a") is None
        self._ask(second, "a", held.asked.wait)
        held.release()
        taken = _taken(second, "a")
        assert taken.alive
        taken.release()
        getattr(made, "close", bool)()

    def test_a_holder_in_another_process_hands_over(self, locker: SettledLocker, other: LockerProcess) -> None:
        seconds = []
        for _ in range(self.handovers):
            assert other.lock_until_asked("a")
            started = time.monotonic()
            held = locker.wait_for("a", self.handover_limit * 10)
            seconds.append(time.monotonic() - started)
            assert held is not None
            held.release()
        assert median(seconds) < self.handover_limit

    def test_a_holder_in_another_process_is_asked_and_keeps_its_lock(
        self, locker: SettledLocker, other: LockerProcess
    ) -> None:
        assert other.lock("a")
        self._ask(locker, "a", partial(other.asked, "a"))
        assert other.alive("a")
        assert not other.lost("a", 0)

    def test_every_holder_is_asked_of_those_wanted(self, locker: SettledLocker, other: LockerProcess) -> None:
        for n in range(6):
            assert other.lock(f"upload-{n}")
        for n in (1, 4):
            self._ask(locker, f"upload-{n}", partial(other.asked, f"upload-{n}"))
        assert not any(other.asked(f"upload-{n}", 0) for n in (0, 2, 3, 5))

    def test_a_wish_vanishes_once_nobody_repeats_it(self, other: LockerProcess, locker: SettledLocker) -> None:
        assert other.lock("a")
        self._ask(locker, "a", partial(other.asked, "a"))
        self._assert_left_in_peace(other)

    def test_a_wish_dies_with_the_process_that_had_it(
        self, others: Processes, other: LockerProcess, make_locker: MakeLocker
    ) -> None:
        waiter = others.start(make_locker)
        assert other.lock("a")
        waiter.request_release("a")
        waiter.kill()
        self._assert_left_in_peace(other)

    def _ask(self, locker: SettledLocker, upload_id: str, asked: Callable[[float], bool]) -> None:
        """Ask again and again, as the engine does, until the holder was."""
        deadline = time.monotonic() + self.handover_limit * 10
        locker.request_release(upload_id)
        while not asked(locker.locker.retry_interval):
            assert time.monotonic() < deadline, "the holder is not asked to let go"
            locker.request_release(upload_id)

    def _assert_left_in_peace(self, holder: LockerProcess) -> None:
        deadline = time.monotonic() + self.wish_limit
        while True:
            holder.release("a")
            assert holder.lock("a")
            if not holder.asked("a", 0.2):
                return
            assert time.monotonic() < deadline, "the holder is still asked to let go"

    def test_a_killed_holder_holds_nothing(self, locker: SettledLocker, other: LockerProcess) -> None:
        assert other.lock("a")
        other.kill()
        assert locker.wait_for("a", self.crash_limit) is not None

    def test_tokens_grow_across_processes(self, locker: SettledLocker, other: LockerProcess) -> None:
        tokens = []
        for _ in range(3):
            held = _taken(locker, "a")
            tokens.append(held.token)
            held.release()
            assert other.lock("a")
            tokens.append(other.token("a"))
            other.release("a")
        if tokens[0] is None:
            assert set(tokens) == {None}
        else:
            _assert_growing(tokens)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
    def test_a_forked_child_holds_nothing_and_frees_nothing(self, locker: SettledLocker, other: LockerProcess) -> None:
        assert other.lock("a")
        assert other.in_forked_child("a", "b") == (False, False, True)
        assert other.alive("a")
        assert locker.try_lock("a") is None
        other.release("a")
        assert _taken(locker, "a").alive

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
    def test_a_paused_holder_learns_that_its_lease_ran_out(self, locker: SettledLocker, other: LockerProcess) -> None:
        if self.lease is None:
            pytest.skip("locks of this locker have no lease")
        assert other.lock("a")
        token = other.token("a")
        other.signal(signal.SIGSTOP)
        held = locker.wait_for("a", self.crash_limit)
        other.signal(signal.SIGCONT)
        assert held is not None
        assert other.lost("a", self.lease)
        assert not other.alive("a")
        other.release("a")
        assert held.alive
        assert locker.try_lock("a") is None
        assert other.lock("b"), "its process takes no lock any more"
        if token is not None:
            _assert_growing([token, held.token])

    def test_processes_exclude_each_other(self, others: Processes, make_locker: MakeLocker, tmp_path: Path) -> None:
        ids = ("a", "b", "c")
        board = Board(tmp_path / "board", len(ids))
        workers = [others.start(make_locker) for _ in range(self.processes)]
        for worker in workers:
            worker.tell("churn", tmp_path / "board", ids, self.seconds)
        results = [worker.answer(self.seconds) for worker in workers]
        _assert_no_overlap(board, ids, [result for result in results if isinstance(result, tuple)])


def _taken(locker: SettledLocker, upload_id: str) -> HeldLock:
    held = locker.try_lock(upload_id)
    assert held is not None, f"{upload_id!r} is not free"
    return held


def _in_thread(function: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def _assert_growing(tokens: list[int | None]) -> None:
    assert None not in tokens
    numbers = [token for token in tokens if token is not None]
    assert all(before < after for before, after in pairwise(numbers)), numbers


def _assert_no_overlap(board: Board, ids: tuple[str, ...], results: list[tuple[int, int]]) -> None:
    visits, met = (sum(each) for each in zip(*results, strict=True))
    assert visits > 0
    assert met == 0
    assert visits == sum(board.visits(row) for row in range(len(ids)))
