"""FileStore's writers: full disks, short writes, kernel moves, and never two at once."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.disk import OneFailure, RecordingSystem
from tuspy_server.errors import RecordChanged, StoreError, StoreFailed, StoreFull, StoreUnavailable, SyncFailed
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.system import System


class SmallDisk(System):
    """Takes a few bytes at a time, `room` in all."""

    def __init__(self, room: int = 1 << 30, most: int = 7, code: int = errno.ENOSPC) -> None:
        self.room = room
        self.most = most
        self.code = code

    def write(self, fd: int, chunks: Sequence[bytes], offset: int) -> int:
        data = b"".join(chunks)
        if data.startswith(b"data"):
            self.room -= min(len(data), self.most)
            if self.room < 0:
                raise OSError(self.code, os.strerror(self.code))
        return super().write(fd, [data[: self.most]], offset)


def made(store: FileStore, length: int | None = None) -> UploadInfo:
    return store.create(UploadInfo(id="a", length=length))


def test_short_writes_are_repeated(tmp_path: Path) -> None:
    store = FileStore(tmp_path, system=SmallDisk())
    info = made(store)
    writer = store.open(info, fence=None)
    pieces = [b"", b"0123", b"", b"456789abcdef", b"g", *[b"h"] * 30, b""]
    writer.write(pieces)
    assert writer.close() == len(b"".join(pieces))
    assert store.path(info).read_bytes() == b"".join(pieces)


def test_more_pieces_than_one_call_takes_are_written(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    info = made(store)
    writer = store.open(info, fence=None)
    pieces = [b"%d," % n for n in range(5000)]
    writer.write(pieces)
    writer.write([])
    assert writer.close() == len(b"".join(pieces))
    assert store.path(info).read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_what_was_written(tmp_path: Path, code: int) -> None:
    store = FileStore(tmp_path, system=SmallDisk(room=4, most=4, code=code))
    info = made(store)
    writer = store.open(info, fence=None)
    with pytest.raises(StoreFull):
        writer.write([b"datadata"])
    assert writer.close() == 4
    assert store.get("a").offset == 4
    assert store.path(info).read_bytes() == b"data"


@pytest.mark.parametrize(
    ("code", "error"), [(errno.EIO, StoreFailed), (errno.EROFS, StoreFailed), (errno.EMFILE, StoreUnavailable)]
)
def test_other_failures_name_their_cause_and_no_path(tmp_path: Path, code: int, error: type[StoreError]) -> None:
    store = FileStore(tmp_path, system=RecordingSystem(tmp_path, OneFailure("open", 0, code)))
    with pytest.raises(error) as caught:
        made(store)
    assert isinstance(caught.value.__cause__, OSError)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("call", ["open", "write"])
@pytest.mark.parametrize("turn", range(2))
def test_creation_that_fails_leaves_nothing(tmp_path: Path, call: str, turn: int) -> None:
    failure = OneFailure(call, turn, errno.ENOSPC)
    store = FileStore(tmp_path, system=RecordingSystem(tmp_path, failure))
    if (call, turn) == ("write", 1):
        made(store)
        return
    with pytest.raises(StoreFull):
        made(store)
    assert list(tmp_path.iterdir()) == []
    assert made(store).offset == 0


def test_space_to_keep_free_is_kept(tmp_path: Path) -> None:
    class Free(System):
        left = 1000

        def free(self, path: str) -> int | None:
            return self.left

    system = Free()
    store = FileStore(tmp_path, min_free=500, system=system)
    writer = store.open(made(store), fence=None)
    writer.write([b"abc"])
    system.left = 499
    with pytest.raises(StoreFull):
        writer.write([b"def"])
    assert writer.close() == 3
    with pytest.raises(StoreFull):
        store.create(UploadInfo(id="b", length=1))
    assert FileStore(tmp_path, min_free=1).create(UploadInfo(id="c", length=1)).offset == 0


def test_second_writer_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    info = made(store)
    first = store.open(info, fence=None)
    for opened in (store.open, store.stage, FileStore(tmp_path).open):
        with pytest.raises(RecordChanged):
            opened(info, fence=None)
    first.write([b"abc"])
    assert first.close() == 3
    second = store.open(replace(info, offset=3), fence=None)
    second.write([b"def"])
    assert second.close() == 6


def test_writer_of_another_process_is_refused(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    writer = store.open(made(store), fence=None)
    program = (
        "import sys; from tuspy_server.stores.file import FileStore\n"
        "from tuspy_server.errors import RecordChanged\n"
        "store = FileStore(sys.argv[1])\n"
        "try: store.open(store.get('a'), fence=None)\n"
        "except RecordChanged: print('refused')"
    )
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout == "refused\n"
    writer.close()


def test_writer_whose_lock_was_lost_frees_the_file_unclosed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    info = made(store)
    writer = store.open(info, fence=None)
    writer.write([b"abc"])
    del writer
    gc.collect()
    assert store.open(store.get("a"), fence=None).close() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_forked_child_does_not_keep_the_file_locked(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    writer = store.open(made(store), fence=None)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.read(reading, 1)
        os._exit(0)
    try:
        writer.close()
        store.open(store.get("a"), fence=None).close()
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_closed_writer_takes_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    writer = store.open(made(store), fence=None)
    writer.close()
    with pytest.raises(StoreFailed):
        writer.write([b"abc"])
    with pytest.raises(StoreFailed):
        writer.fileno()


def test_close_fails_again_the_same_way(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    info = made(store)
    writer = store.open(info, fence=None)
    writer.write([b"abc"])
    store.terminate(info)
    for _ in range(2):
        with pytest.raises(RecordChanged):
            writer.close()


@pytest.mark.parametrize("explicit", [True, False])
def test_bytes_moved_by_the_kernel_count(tmp_path: Path, explicit: bool) -> None:
    store = FileStore(tmp_path)
    info = made(store)
    writer = store.open(info, fence=None)
    reading, writing = os.pipe()
    writer.write([b"one,"])
    for offset, moved in ((4, b"two,"), (14, b"four,")):
        os.write(writing, moved)
        target = writer.fileno()
        size = os.splice(reading, target, 100, offset_dst=offset if explicit else None)
        writer.moved(size)
        writer.write([b"three,"])
    os.write(writing, b"five")
    writer.moved(os.splice(reading, writer.fileno(), 100))
    os.close(reading)
    os.close(writing)
    assert writer.close() == 29
    assert store.path(info).read_bytes() == b"one,two,three,four,three,five"


def test_bytes_moved_but_not_told_count(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    writer = store.open(made(store), fence=None)
    os.write(writer.fileno(), b"abc")
    assert writer.close() == 3 == store.get("a").offset


def test_large_upload_starts_its_way_to_the_disk_early(memory_path: Path) -> None:
    calls: list[str] = []
    store = FileStore(memory_path, system=RecordingSystem(memory_path, fail=calls.append))
    writer = store.open(made(store), fence=None)
    for _ in range(5):
        writer.write([b"x" * (4 << 20)])
    writer.close()
    assert calls.count("start_writeback") == 2
    assert calls.count("sync") == 0


def test_failure_of_the_early_way_is_final(memory_path: Path) -> None:
    system = RecordingSystem(memory_path, OneFailure("start_writeback", 0))
    store = FileStore(memory_path, system=system)
    writer = store.open(made(store), fence=None)
    with pytest.raises(SyncFailed):
        writer.write([b"x" * (9 << 20)])
    writer.close()
    assert store.get("a").state is State.FAILED
    assert FileStore(memory_path).get("a").state is State.FAILED


def test_failure_to_close_the_file_is_final(tmp_path: Path) -> None:
    class Network(System):
        fails = False

        def close(self, fd: int) -> None:
            super().close(fd)
            if self.fails:
                self.fails = False
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    system = Network()
    store = FileStore(tmp_path, system=system)
    writer = store.open(made(store, 3), fence=None)
    writer.write([b"abc"])
    system.fails = True
    with pytest.raises(SyncFailed):
        writer.close()
    info = store.get("a")
    assert info.state is State.FAILED
    with pytest.raises(SyncFailed):
        store.finish(info)
    with pytest.raises(SyncFailed):
        store.update(replace(info, state=State.COMPLETE))


def test_staged_bytes_do_not_count_where_no_room_is_left_to_say_so(tmp_path: Path) -> None:
    system = RecordingSystem(tmp_path)
    store = FileStore(tmp_path, system=system)
    writer = store.stage(made(store), fence=None)
    writer.write([b"abc"])
    system.fail = OneFailure("write", 0, errno.ENOSPC)
    for _ in range(2):
        with pytest.raises(StoreFull):
            writer.close()
    assert store.get("a").offset == 0
    after = store.open(store.get("a"), fence=None)
    after.write([b"xy"])
    assert after.close() == 2 == store.get("a").offset
