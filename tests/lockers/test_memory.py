"""MemoryLocker keeps what every locker must keep."""

from __future__ import annotations

from functools import partial

import pytest

from tuspy_server.lockers.memory import MemoryLocker
from tuspy_server.testing.async_locker import AsyncLocker
from tuspy_server.testing.locker_processes import MakeLocker
from tuspy_server.testing.lockers import LockerSuite


class TestMemoryLocker(LockerSuite):
    across_processes = False

    @pytest.fixture
    def make_locker(self) -> MakeLocker:
        return MemoryLocker


class TestAsyncMemoryLocker(LockerSuite):
    across_processes = False

    @pytest.fixture
    def make_locker(self) -> MakeLocker:
        return partial(AsyncLocker, MemoryLocker)
