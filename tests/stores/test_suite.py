"""StoreSuite itself: it fails for stores that break their promises, and asks nothing that was not declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from tuspy_server.errors import TusError
from tuspy_server.interfaces import Stager, Terminater
from tuspy_server.models import UploadInfo
from tuspy_server.stores.memory import MemoryStore, MemoryWriter
from tuspy_server.testing import StoreSuite
from tuspy_server.testing.settled import SettledStore
from tuspy_server.testing.suite import ALL_CAPABILITIES


class Suite(StoreSuite):
    """Not collected; its tests are called by hand."""


class TellsTooMuch(MemoryStore):
    class _Writer(MemoryWriter):
        def close(self) -> int:
            return super().close() + 1

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MemoryWriter:
        writer = super().open(info, fence=fence)
        writer.__class__ = self._Writer
        return writer


class OverwritesOnCreate(MemoryStore):
    def create(self, info: UploadInfo, /) -> UploadInfo:
        self._entries.pop(info.id, None)
        return super().create(info)


class UpdatesStaleRecords(MemoryStore):
    def update(self, info: UploadInfo, /) -> UploadInfo:
        entry = self._find(info.id)
        entry.record = info
        return info


class ForgetsTombstones(MemoryStore):
    def terminate(self, info: UploadInfo, /) -> None:
        self._entries.pop(info.id, None)


@pytest.fixture
def judge() -> Iterator[Callable[[MemoryStore, str], None]]:
    with start_blocking_portal() as portal:
        yield lambda store, test: getattr(Suite(), test)(SettledStore(store, portal))


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (TellsTooMuch(), "test_offset_is_what_close_told"),
        (OverwritesOnCreate(), "test_create_is_exclusive_and_leaves_the_first_alone"),
        (UpdatesStaleRecords(), "test_update_with_a_stale_revision_changes_nothing"),
        (UpdatesStaleRecords(), "test_same_update_again_changes_the_revision_again"),
        (ForgetsTombstones(), "test_tombstone_says_gone_and_holds_the_id"),
    ],
)
def test_broken_store_fails(judge: Callable[[MemoryStore, str], None], store: MemoryStore, test: str) -> None:
    judge(MemoryStore(), test)
    with pytest.raises((AssertionError, TusError, pytest.fail.Exception)):
        judge(store, test)


def asked(suite: type[StoreSuite]) -> set[str]:
    return {name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))}


def test_forgotten_protocol_fails() -> None:
    class WithoutStaging(MemoryStore):
        stage = None  # type: ignore[assignment]

    Suite().test_capabilities_are_the_declared_ones(MemoryStore())
    with pytest.raises(AssertionError):
        Suite().test_capabilities_are_the_declared_ones(WithoutStaging())


def test_undeclared_capability_is_not_asked_for_but_must_not_be_there() -> None:
    class Frugal(StoreSuite):
        capabilities = ALL_CAPABILITIES - {Stager}

    assert {name for name in asked(Suite) - asked(Frugal) if "stag" not in name and "discard" not in name} == set()
    assert "test_staging_nothing_changes_nothing" not in asked(Frugal)
    with pytest.raises(AssertionError):
        Frugal().test_capabilities_are_the_declared_ones(MemoryStore())


def test_test_of_two_capabilities_needs_both() -> None:
    class Frugal(StoreSuite):
        capabilities = ALL_CAPABILITIES - {Terminater}

    assert "test_vanished_part_is_an_error_and_no_final" not in asked(Frugal)
    assert "test_short_part_is_an_error_and_no_final" in asked(Frugal)
