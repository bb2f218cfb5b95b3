"""FileLocker keeps what every locker must keep, in each of its forms, and what only it promises.

16 processes churn for 5 seconds; with TUSPY_SERVER_CAMPAIGN=1 for 60.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.churning import Churning
from tuspy_server.lockers.file import FileLocker
from tuspy_server.lockers.lock_files import LockFiles
from tuspy_server.testing.async_locker import AsyncLocker
from tuspy_server.testing.locker_processes import LockerProcess, MakeLocker
from tuspy_server.testing.lockers import LockerSuite


def nothing() -> None: ...


def locker_with_lock_files(directory: Path, *, soft: bool = False) -> FileLocker:
    locker = FileLocker(directory)
    files = LockFiles(directory / ".locks.d", soft=soft)
    files.probe()
    locker._files = files
    return locker


class TestFileLocker(Churning):
    @pytest.fixture
    def make_locker(self, tmp_path: Path) -> MakeLocker:
        return partial(FileLocker, tmp_path / "uploads")


class TestAsyncFileLocker(LockerSuite):
    seconds = 0.5

    @pytest.fixture
    def make_locker(self, tmp_path: Path) -> MakeLocker:
        return partial(AsyncLocker, partial(FileLocker, tmp_path / "uploads"))


class TestLockFiles(LockerSuite):
    seconds = 0.5

    @pytest.fixture
    def make_locker(self, tmp_path: Path) -> MakeLocker:
        return partial(locker_with_lock_files, tmp_path / "uploads")


class TestSoftLockFiles(LockerSuite):
    seconds = 0.5

    @pytest.fixture
    def make_locker(self, tmp_path: Path) -> MakeLocker:
        return partial(locker_with_lock_files, tmp_path / "uploads", soft=True)


linux = pytest.mark.skipif(sys.platform != "linux", reason="byte-range locks of open file descriptions are Linux's")


@linux
def test_one_file_serves_all_uploads(tmp_path: Path) -> None:
    locker = FileLocker(tmp_path / "not" / "there")
    for n in range(100):
        lock = locker.try_lock(f"upload-{n}", nothing, nothing)
        assert lock is not None
        if n % 2:
            lock.release()
    assert os.listdir(tmp_path / "not" / "there") == [".locks"]
    assert (tmp_path / "not" / "there" / ".locks").stat().st_size == 0


def test_lock_files_go_with_their_locks(tmp_path: Path) -> None:
    locker = locker_with_lock_files(tmp_path)
    lock = locker.try_lock("a", nothing, nothing)
    assert lock is not None
    assert len(list((tmp_path / ".locks.d").glob("*.lock"))) == 1
    lock.release()
    assert not list((tmp_path / ".locks.d").glob("*.lock"))


@linux
def test_a_deleted_lock_file_is_replaced(tmp_path: Path) -> None:
    locker, other = FileLocker(tmp_path), FileLocker(tmp_path)
    held = locker.try_lock("a", nothing, nothing)
    assert held is not None
    (tmp_path / ".locks").unlink()
    assert locker.try_lock("b", nothing, nothing) is not None
    assert other.try_lock("a", nothing, nothing) is None
    assert other.try_lock("b", nothing, nothing) is None
    assert held.alive
    held.release()
    assert other.try_lock("a", nothing, nothing) is not None


@linux
def test_a_lock_that_another_took_on_the_new_file_is_lost(tmp_path: Path) -> None:
    locker, other = FileLocker(tmp_path), FileLocker(tmp_path)
    lost = threading.Event()
    held = locker.try_lock("a", nothing, lost.set)
    assert held is not None
    with locker._mutex:  # keeps the watcher out, which would be first otherwise
        (tmp_path / ".locks").unlink()
        taken = other.try_lock("a", nothing, nothing)
    assert taken is not None
    assert lost.wait(5)
    assert not held.alive
    held.release()
    assert taken.alive
    assert locker.try_lock("a", nothing, nothing) is None


@linux
def test_a_deleted_directory_is_made_again(tmp_path: Path) -> None:
    locker = FileLocker(tmp_path / "uploads")
    lock = locker.try_lock("a", nothing, nothing)
    assert lock is not None
    with locker._mutex:  # keeps the watcher out, which makes it again as well
        (tmp_path / "uploads" / ".locks").unlink()
        (tmp_path / "uploads").rmdir()
    assert locker.try_lock("b", nothing, nothing) is not None


@linux
def test_a_child_that_runs_another_program_keeps_no_lock(tmp_path: Path) -> None:
    locker, other = FileLocker(tmp_path), FileLocker(tmp_path)
    lock = locker.try_lock("a", nothing, nothing)
    assert lock is not None
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    try:
        lock.release()
        del locker
        assert other.try_lock("a", nothing, nothing) is not None
    finally:
        child.kill()
        child.wait()


@linux
def test_a_parents_death_frees_its_locks_although_a_forked_child_lives(tmp_path: Path) -> None:
    script = """
import os, sys, time
from tuspy_server.lockers.file import FileLocker
locker = FileLocker(sys.argv[1])
lock = locker.try_lock("a", print, print)
child = os.fork()
if child:
    os.write(1, b"%d\\n" % child)
    os.kill(os.getpid(), 9)
os.write(1, b"ready\\n")
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        words = {parent.stdout.readline().strip() for _ in range(2)}
        parent.wait()
        (child,) = words - {"ready"}
        try:
            assert FileLocker(tmp_path).try_lock("a", nothing, nothing) is not None
        finally:
            os.kill(int(child), 9)


def test_a_parked_watcher_wakes_for_the_next_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuspy_server.lockers.worker._LINGER", 0.0)
    locker = FileLocker(tmp_path)
    first = locker.try_lock("a", nothing, nothing)
    assert first is not None
    first.release()
    deadline = time.monotonic() + 5
    while not locker._watcher.parked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with LockerProcess(partial(FileLocker, tmp_path)) as other:
        asked = threading.Event()
        assert locker.try_lock("a", asked.set, nothing) is not None
        other.request_release("a")
        assert asked.wait(5)


def test_a_failing_callback_does_not_end_the_watcher(tmp_path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    locker = FileLocker(tmp_path)
    assert locker.try_lock("a", fail, nothing) is not None
    asked = threading.Event()
    assert locker.try_lock("b", asked.set, nothing) is not None
    with LockerProcess(partial(FileLocker, tmp_path)) as other:
        other.request_release("a")
        other.request_release("b")
        assert asked.wait(5)


def test_a_directory_that_cannot_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        FileLocker(tmp_path / "file" / "uploads")


@linux
@pytest.mark.parametrize("form", ["byte ranges", "lock files"])
def test_a_container_that_restarts_with_the_same_pids_finds_no_stale_lock(tmp_path: Path, form: str) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from tests.lockers.test_file import FileLocker, locker_with_lock_files
make = {"FileLocker" if form == "byte ranges" else "locker_with_lock_files"}
lock = make(Path(sys.argv[1])).try_lock("a", print, print)
print(os.getpid(), lock is not None, flush=True)
time.sleep(60)
"""
    container = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", script, str(tmp_path)]
    found = []
    for _ in range(2):
        process = subprocess.Popen(container, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        with process.stdout:
            found.append(process.stdout.readline().strip())
            process.kill()
            process.stdout.read()  # its end is the end of the process that held the lock
            process.wait()
    if found == ["", ""]:
        pytest.skip("no process namespaces here")
    assert found == ["1 True", "1 True"]
