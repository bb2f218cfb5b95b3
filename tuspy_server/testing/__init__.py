"""Conformance suites for stores and lockers; subclass them beside your own back end. Needs pytest."""

import pytest

pytest.register_assert_rewrite(
    "tuspy_server.testing.stores",
    "tuspy_server.testing.store_features",
    "tuspy_server.testing.suite",
    "tuspy_server.testing.lockers",
)

from tuspy_server.testing.async_locker import AsyncLocker  # noqa: E402
from tuspy_server.testing.colours import AsyncStore  # noqa: E402
from tuspy_server.testing.lockers import LockerSuite  # noqa: E402
from tuspy_server.testing.stores import StoreSuite  # noqa: E402

__all__ = ["AsyncLocker", "AsyncStore", "LockerSuite", "StoreSuite"]
