"""What every leased locker must keep beyond LockerSuite, with the server it runs on at hand.

16 processes churn for 5 seconds; with TUSPY_SERVER_CAMPAIGN=1 for 60, see `tests.lockers.churning`.
"""

from __future__ import annotations

import time

import pytest

from tests.lockers.churning import Churning
from tests.lockers.servers import Server
from tuspy_server.errors import LockerUnavailable
from tuspy_server.testing.locker_processes import HeldLock, LockerProcess, MakeLocker, SettledLocker


def taken(locker: SettledLocker, upload_id: str) -> HeldLock:
    held = locker.try_lock(upload_id)
    assert held is not None
    return held


def eventually_taken(locker: SettledLocker, upload_id: str, timeout: float) -> HeldLock:
    """Take it as a client that repeats its request after 423 does."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if (held := locker.try_lock(upload_id)) is not None:
                return held
        except LockerUnavailable:
            pass
        assert time.monotonic() < deadline, "the locker does not recover"
        time.sleep(0.05)


class LeasedSuite(Churning):
    lease = 3.0
    crash_limit = 6.0
    keeps_locks_over_restart = False

    def test_a_held_lock_outlives_many_leases(self, make_locker: MakeLocker, locker: SettledLocker) -> None:
        held = taken(locker, "a")
        assert not held.lost.wait(self.lease * 2)
        assert held.alive
        assert locker.try_lock("a") is None

    def test_an_outage_shorter_than_the_lease_ends_nothing(self, server: Server, locker: SettledLocker) -> None:
        held = taken(locker, "a")
        server.pause()
        try:
            with pytest.raises(LockerUnavailable):
                locker.try_lock("b")
            assert held.alive
        finally:
            server.resume()
        assert not held.lost.wait(self.lease)
        assert held.alive
        held.release()
        eventually_taken(locker, "a", 5)
        eventually_taken(locker, "b", self.lease + 1)

    def test_an_outage_longer_than_the_lease_ends_the_lock_in_time(
        self, server: Server, locker: SettledLocker, other: LockerProcess
    ) -> None:
        held = taken(locker, "a")
        server.pause()
        try:
            started = time.monotonic()
            assert held.lost.wait(self.lease + 1)
            assert time.monotonic() - started <= self.lease + 0.1
            assert not held.alive
            held.release()
        finally:
            server.resume()
        eventually_taken(locker, "a", self.lease + 3)
        assert other.lock("b")

    def test_a_restart_heals_by_itself(self, server: Server, locker: SettledLocker, other: LockerProcess) -> None:
        held = taken(locker, "a")
        server.kill()
        with pytest.raises(LockerUnavailable):
            locker.try_lock("b")
        server.start()
        if self.keeps_locks_over_restart:
            assert not held.lost.wait(self.lease)
            assert held.alive
            held.release()
        else:
            assert held.lost.wait(self.lease)
        eventually_taken(locker, "a", self.lease + 1).release()
        deadline = time.monotonic() + 5
        assert other.lock_until_asked("a")
        while locker.try_lock("a") is None:
            assert time.monotonic() < deadline, "release requests do not recover"
            locker.request_release("a")
            time.sleep(0.05)

    def test_a_lock_that_could_not_be_released_is_released_later(self, server: Server, locker: SettledLocker) -> None:
        held = taken(locker, "a")
        server.pause()
        try:
            held.release()
        finally:
            server.resume()
        eventually_taken(locker, "a", self.lease * 2 / 3)
