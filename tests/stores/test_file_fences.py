"""FileStore with locks that a holder may lose: the file system has to stop it then."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from tuspy_server import Composer, FileStore
from tuspy_server.errors import StoreFailed
from tuspy_server.lockers.etcd import EtcdLocker
from tuspy_server.stores.limited import LimitedStore


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network mount without a lock service answers."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("limited", [False, True], ids=["plain store", "limited store"])
def test_files_where_nothing_can_be_locked_are_refused_with_leases(tmp_path: Path, limited: bool) -> None:
    store = FileStore(tmp_path)
    with pytest.raises(StoreFailed, match="another store or file system"):
        Composer(LimitedStore(store, 1 << 20) if limited else store, EtcdLocker())


@pytest.mark.usefixtures("without_locks")
def test_files_where_nothing_can_be_locked_work_on_one_machine(tmp_path: Path) -> None:
    assert Composer(FileStore(tmp_path)).locker is not None


def test_looking_for_locks_leaves_nothing_behind(tmp_path: Path) -> None:
    Composer(FileStore(tmp_path), EtcdLocker())
    assert list(tmp_path.iterdir()) == []
