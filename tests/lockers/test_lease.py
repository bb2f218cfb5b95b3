"""The lease machinery against a service whose every answer the test decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from queue import Empty, Queue

import pytest

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout

LEASE = 1.5


class Service:
    """Locks in memory. Tests take it down, make it slow or deaf, and take locks away."""

    def __init__(self) -> None:
        self.down = False
        self.open = threading.Event()
        self.open.set()
        self.owners: dict[str, str] = {}
        self.renewals: Queue[float] = Queue()
        self.wanted: Queue[str] = Queue()
        self.tokens = 0
        self.lose_answers = False

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        self._reach()
        if self.owners.setdefault(upload_id, owner) != owner:
            return None
        if self.lose_answers:
            raise LockerUnavailable
        self.tokens += 1
        return Grant(self.tokens)

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        self._reach()
        self.renewals.put(time.monotonic())
        return {owner: self.owners.get(upload_id) == owner for owner, upload_id in held.items()}

    def release(self, upload_id: str, owner: str, /) -> None:
        self._reach()
        if self.owners.get(upload_id) == owner:
            del self.owners[upload_id]

    def request(self, upload_id: str, /) -> None:
        self._reach()
        if upload_id in self.owners:
            self.wanted.put(self.owners[upload_id])

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        try:
            return [self.wanted.get(timeout=0.05)]
        except Empty:
            return []

    def forget(self) -> None: ...

    def _reach(self) -> None:
        self.open.wait()
        if self.down:
            raise LockerUnavailable


class Asked:
    """Callbacks of one lock."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.lost = threading.Event()
        self.losses = 0

    def on_release_requested(self) -> None:
        self.released.set()

    def on_lost(self) -> None:
        self.losses += 1
        self.lost.set()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def locker(service: Service) -> Iterator[LeasedLocker]:
    locker = LeasedLocker(service, lease=LEASE, retry_interval=0.05)
    yield locker
    service.open.set()
    locker.close()


@pytest.fixture
def asked() -> Asked:
    return Asked()


def eventually(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lock_is_renewed_at_a_third_of_its_lease(locker: LeasedLocker, service: Service, asked: Asked) -> None:
    started = time.monotonic()
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is not None
    moments = [service.renewals.get(timeout=5) for _ in range(3)]
    assert moments[0] - started >= 0.7 * LEASE / 3
    assert moments[2] - started <= LEASE + 0.5
    assert not asked.lost.is_set()


def test_a_lock_that_the_service_gave_away_is_lost_at_the_next_renewal(
    locker: LeasedLocker, service: Service, asked: Asked
) -> None:
    lock = locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert lock is not None
    service.owners["a"] = "somebody else"
    assert asked.lost.wait(LEASE)
    assert not lock.alive
    lock.release()
    assert service.owners["a"] == "somebody else"
    assert asked.losses == 1


def test_the_end_of_a_lease_is_noticed_although_the_service_hangs(
    locker: LeasedLocker, service: Service, asked: Asked
) -> None:
    lock = locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert lock is not None
    service.open.clear()
    started = time.monotonic()
    assert asked.lost.wait(LEASE + 2)
    assert time.monotonic() - started <= LEASE + 0.3
    assert not lock.alive


def test_a_lock_lives_until_its_lease_ends_while_the_service_is_down(
    locker: LeasedLocker, service: Service, asked: Asked
) -> None:
    lock = locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert lock is not None
    service.down = True
    assert not asked.lost.wait(LEASE / 2)
    assert lock.alive
    service.down = False
    assert not asked.lost.wait(LEASE)
    assert lock.alive


def test_alive_looks_at_the_clock_itself(locker: LeasedLocker, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was paused must know before any of its threads had the time to find out."""
    lock = locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert lock is not None
    end = lock.deadline
    monkeypatch.setattr("tuspy_server.lockers.lease.now", lambda: end)
    assert not lock.alive


def test_the_wall_clock_does_not_matter(
    locker: LeasedLocker, service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert lock is not None
    monkeypatch.setattr("time.time", lambda: 4e9)
    service.renewals.get(timeout=5)
    assert lock.alive
    assert not asked.lost.is_set()


def test_a_grant_that_took_longer_than_the_lease_is_no_lock(
    locker: LeasedLocker, service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(held: Mapping[str, str], lease: float) -> Mapping[str, bool]:
        raise LockerUnavailable

    clock = iter([0.0])
    monkeypatch.setattr(service, "renew", too_late)
    monkeypatch.setattr("tuspy_server.lockers.lease.now", lambda: next(clock, 2 * LEASE))
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is None
    eventually(lambda: "a" not in service.owners)


def test_what_the_service_gave_although_its_answer_was_lost_is_freed(
    locker: LeasedLocker, service: Service, asked: Asked
) -> None:
    service.lose_answers = True
    with pytest.raises(LockerUnavailable):
        locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    service.lose_answers = False
    eventually(lambda: "a" not in service.owners)
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is not None


def test_a_lock_whose_release_failed_is_freed_later(locker: LeasedLocker, service: Service, asked: Asked) -> None:
    lock = locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert lock is not None
    service.down = True
    lock.release()
    assert not lock.alive
    service.down = False
    eventually(lambda: "a" not in service.owners)


def test_many_locks_of_an_outage_are_all_freed(
    locker: LeasedLocker, service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuspy_server.lockers.lease._FORSAKEN_LIMIT", 120)
    service.lose_answers = True
    for n in range(130):
        with pytest.raises(LockerUnavailable):
            locker.try_lock(f"upload-{n}", asked.on_release_requested, asked.on_lost)
    service.lose_answers = False
    eventually(lambda: len(service.owners) <= 10)


def test_a_wish_reaches_the_holder_it_is_meant_for(locker: LeasedLocker, service: Service, asked: Asked) -> None:
    first, other = Asked(), Asked()
    held = locker.try_lock("a", first.on_release_requested, first.on_lost)
    assert held is not None
    assert locker.try_lock("b", other.on_release_requested, other.on_lost) is not None
    stale = service.owners["a"]
    held.release()
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is not None
    service.wanted.put(stale)
    service.wanted.put(service.owners["b"])
    assert other.released.wait(5)
    assert not asked.released.is_set()
    service.request("a")
    assert asked.released.wait(5)


def test_a_holder_in_this_process_is_asked_without_the_service(
    locker: LeasedLocker, service: Service, asked: Asked
) -> None:
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is not None
    service.down = True
    locker.request_release("a")
    assert asked.released.is_set()
    with pytest.raises(LockerUnavailable):
        locker.request_release("b")


def test_a_held_upload_is_refused_without_the_service(locker: LeasedLocker, service: Service, asked: Asked) -> None:
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is not None
    service.down = True
    assert locker.try_lock("a", asked.on_release_requested, asked.on_lost) is None


def test_a_lock_without_threads_is_none(
    locker: LeasedLocker, service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(LockerUnavailable):
            locker.try_lock("a", asked.on_release_requested, asked.on_lost)
    assert locker.try_lock("b", asked.on_release_requested, asked.on_lost) is not None
    eventually(lambda: "a" not in service.owners)


@pytest.mark.parametrize(("lease", "retry_interval"), [(0.5, 1.0), (float("nan"), 1.0), (10.0, 0.0)])
def test_senseless_settings_are_refused(service: Service, lease: float, retry_interval: float) -> None:
    with pytest.raises(ValueError, match="is seconds and must be"):
        LeasedLocker(service, lease=lease, retry_interval=retry_interval)


def test_names_are_short_and_plain() -> None:
    assert lock_name("aZ09_-x.~y") == "aZ09_-x.~y"
    odd = [lock_name(each) for each in ("", "a/b", "..", "é", "\udcff", "x" * 200)]
    assert len(set(odd)) == len(odd)
    assert all(name.startswith("~") and len(name) == 65 for name in odd)


def test_a_call_leaves_time_for_others() -> None:
    assert network_timeout(60.0) == 2.0
    assert network_timeout(5.0) == 1.0
