"""Conformance suites for stores and lockers; subclass them beside your own back end. Needs pytest."""

from tuspy_server.testing.async_locker import AsyncLocker
from tuspy_server.testing.colours import AsyncStore
from tuspy_server.testing.lockers import LockerSuite
from tuspy_server.testing.stores import StoreSuite

__all__ = ["AsyncLocker", "AsyncStore", "LockerSuite", "StoreSuite"]
