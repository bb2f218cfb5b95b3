"""FileStore's records: what is torn, foreign, missing or changed by others."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.stores.disk import RecordingSystem
from tuspy_server.errors import RecordChanged, StoreFailed, TusError, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import Limits, State, UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.upload_records import Durability

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


def record(store: FileStore, upload_id: str = "a") -> Path:
    return Path(store.directory) / f"{upload_id}.info"


def filled(store: FileStore, data: bytes = b"abc", **fields: object) -> UploadInfo:
    wanted = UploadInfo(id="a", length=len(data), created=NOW)
    info = store.create(replace(wanted, **fields))  # type: ignore[arg-type]
    writer = store.open(info, fence=None)
    writer.write([data])
    return replace(info, offset=writer.close())


def test_torn_line_does_not_count_and_is_not_glued_to_the_next(store: FileStore) -> None:
    info = filled(store)
    whole = record(store).read_bytes()
    for cut in range(1, len(whole)):
        record(store).write_bytes(whole + whole[:cut])
        assert replace(store.get("a"), revision=info.revision) == info
    record(store).write_bytes(whole + b"x" * 5000)
    updated = store.update(replace(info, principal="p"))
    assert store.get("a") == updated
    lines = record(store).read_bytes().splitlines(keepends=True)
    assert lines[0] == whole
    assert len(lines) == 2
    assert lines[1].endswith(b"}\n")


def test_line_with_a_flipped_bit_does_not_count(store: FileStore) -> None:
    info = filled(store)
    store.update(replace(info, principal="changed"))
    data = record(store).read_bytes()
    record(store).write_bytes(data.replace(b"changed", b"charged"))
    assert store.get("a").principal is None


@pytest.mark.parametrize("garbage", [b"garbage", b"\n\n", b"\0" * 300, b"00000000 1 - {}\n", b"x" * 200_000])
def test_unreadable_record_is_gone_and_can_be_removed(store: FileStore, garbage: bytes) -> None:
    info = filled(store)
    record(store).write_bytes(garbage)
    for attempt in (lambda: store.get("a"), lambda: store.update(info), lambda: store.finish(info)):
        with pytest.raises(UploadGone):
            attempt()
    with pytest.raises(UploadExists):
        store.create(UploadInfo(id="a", length=1))
    store.terminate(info)
    assert list(Path(store.directory).iterdir()) == []


@pytest.mark.parametrize("left", [("data",), ("data", "record")])
def test_creation_that_was_killed_is_not_found_and_can_be_repeated(store: FileStore, left: tuple[str, ...]) -> None:
    (Path(store.directory) / "a").touch()
    if "record" in left:
        record(store).touch()
    with pytest.raises(UploadNotFound) as caught:
        store.get("a")
    assert not isinstance(caught.value, UploadGone)
    assert filled(store).offset == 3
    assert store.get("a").offset == 3


def test_creation_in_place_of_a_tombstone_leaves_no_file(store: FileStore) -> None:
    store.terminate(replace(filled(store), state=State.GONE, expires=NOW))
    for _ in range(2):
        with pytest.raises(UploadExists):
            store.create(UploadInfo(id="a", length=1))
    assert [path.name for path in Path(store.directory).iterdir()] == ["a.info"]


def test_file_of_the_app_is_never_taken_for_a_killed_creation(store: FileStore) -> None:
    (Path(store.directory) / "a").write_bytes(b"not empty")
    with pytest.raises(UploadExists):
        store.create(UploadInfo(id="a", length=1))
    assert (Path(store.directory) / "a").read_bytes() == b"not empty"


def test_of_many_creations_of_one_id_one_succeeds(store: FileStore) -> None:
    barrier, won = threading.Barrier(8), []

    def create(turn: int, racer: int) -> None:
        barrier.wait()
        with suppress(UploadExists):
            won.append((turn, store.create(UploadInfo(id=f"id{turn}", length=racer))))

    def race(racer: int) -> None:
        for turn in range(50):
            create(turn, racer)

    threads = [threading.Thread(target=race, args=(racer,)) for racer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turn for turn, _ in won) == list(range(50))
    for _, info in won:
        assert store.get(info.id) == info


def test_updates_of_several_processes_are_all_kept_or_refused(store: FileStore) -> None:
    filled(store)
    program = (
        "import sys; from dataclasses import replace\n"
        "from tuspy_server.errors import RecordChanged\n"
        "from tuspy_server.stores.file import FileStore\n"
        "store, kept = FileStore(sys.argv[1]), 0\n"
        "while kept < 60:\n"
        "    info = store.get('a')\n"
        "    count = str(int(info.server_metadata.get('count', '0')) + 1)\n"
        "    try: store.update(replace(info, server_metadata={'count': count, 'filler': 'x' * 1500}))\n"
        "    except RecordChanged: continue\n"
        "    kept += 1\n"
    )
    racers = [subprocess.Popen([sys.executable, "-c", program, store.directory]) for _ in range(3)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert store.get("a").server_metadata["count"] == "180"
    assert record(store).stat().st_size < 60_000


def test_record_that_is_often_updated_stays_small(store: FileStore) -> None:
    info = filled(store)
    for turn in range(400):
        info = store.update(replace(info, server_metadata={"turn": str(turn), "filler": "x" * 1000}))
    assert record(store).stat().st_size < 60_000
    assert store.get("a") == info
    assert {path.name for path in Path(store.directory).iterdir()} == {"a", "a.info"}


def test_staged_appends_keep_the_record_small(store: FileStore) -> None:
    info = store.create(UploadInfo(id="a", length=None))
    for turn in range(300):
        writer = store.stage(info, fence=None)
        writer.write([b"x"])
        assert writer.close() == turn + 1
        info = store.get("a")
    assert record(store).stat().st_size < 60_000


def test_record_that_cannot_be_compacted_grows(tmp_path: Path) -> None:
    def refuse_to_replace(call: str) -> None:
        if call == "replace":
            raise PermissionError

    store = FileStore(tmp_path, system=RecordingSystem(tmp_path, refuse_to_replace))
    info = filled(store)
    for turn in range(12):
        info = store.update(replace(info, server_metadata={"turn": str(turn), "filler": "x" * 6000}))
    assert store.get("a") == info
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.info"}


def test_offset_read_while_bytes_are_staged_never_counts_them(store: FileStore) -> None:
    info = store.create(UploadInfo(id="a", length=100))
    done, seen = threading.Event(), set()

    def look() -> None:
        while not done.is_set():
            seen.add(store.get("a").offset)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(300):
        writer = store.stage(info, fence=None)
        writer.write([b"wrong"])
        writer.discard()
    done.set()
    thread.join()
    assert seen == {0}


def test_complete_upload_outlives_its_file(store: FileStore) -> None:
    info = store.update(replace(filled(store), state=State.COMPLETE))
    store.path(info).rename(store.path(info).with_name("moved-by-the-app"))
    assert store.get("a") == info
    store.finish(info)
    with pytest.raises(UploadGone):
        list(store.read(info, 0, 3))


def test_open_upload_without_its_file_is_gone(store: FileStore) -> None:
    info = filled(store, expires=NOW)
    store.path(info).unlink()
    assert [(due.id, due.state) for due in store.expired(NOW)] == [("a", State.GONE)]
    with pytest.raises(UploadGone):
        store.get("a")
    with pytest.raises(UploadGone):
        store.open(info, fence=None)
    with pytest.raises(UploadGone):
        store.finish(info)


def test_short_file_is_never_finished(store: FileStore) -> None:
    info = filled(store)
    os.truncate(store.path(info), 2)
    with pytest.raises(RecordChanged):
        store.finish(info)


def test_file_that_shrinks_while_it_is_read_is_an_error(store: FileStore) -> None:
    info = filled(store)
    os.truncate(store.path(info), 2)
    with pytest.raises(StoreFailed):
        list(store.read(info, 0, 3))


def test_part_that_changes_while_it_is_copied_is_an_error(tmp_path: Path) -> None:
    system = RecordingSystem(tmp_path)
    store = FileStore(tmp_path, system=system)
    part = filled(store)
    final = store.create(UploadInfo(id="final", length=3))

    def remove(call: str) -> None:
        if call == "copy":
            store.path(part).unlink()

    system.fail = remove
    with pytest.raises(StoreFailed):
        store.concat(final, [part])
    assert store.get("final").offset == 0
    assert store.path(final).stat().st_size == 0


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("copied", [0, 1000])
def test_parts_are_copied_where_the_kernel_does_not(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, code: int, copied: int
) -> None:
    data = bytes(range(250)) * 5000
    part = filled(store, data)
    kernel_copy = os.copy_file_range

    def refuse(source: int, target: int, count: int, offset: int, to: int) -> int:
        if offset >= copied:
            raise OSError(code, os.strerror(code))
        return kernel_copy(source, target, copied, offset, to)

    monkeypatch.setattr(os, "copy_file_range", refuse)
    final = store.create(UploadInfo(id="final", length=2 * len(data)))
    done = store.concat(final, [part, part])
    assert store.path(done).read_bytes() == data * 2


def test_no_descriptor_stays_open(store: FileStore) -> None:
    info = filled(store, b"x" * 1_000_000)
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(10):
        pieces = store.read(info, 0, 1_000_000)
        next(pieces)
        pieces.close()
        store.read(info, 0, 1)
        with pytest.raises(UploadNotFound):
            store.get("b")
        with pytest.raises(UploadExists):
            store.create(UploadInfo(id="a", length=1))
        with pytest.raises(TusError):
            store.open(replace(info, offset=1), fence=None)
        store.stage(info, fence=None).discard()
        list(store.expired(NOW))
    after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    assert after == before


def test_sweep_passes_over_what_is_no_record(store: FileStore) -> None:
    directory = Path(store.directory)
    info = filled(store, expires=NOW)
    (directory / "torn.info").write_bytes(b"00")
    (directory / "folder.info").mkdir()
    (directory / ".hidden.info").touch()
    (directory / "loop.info").symlink_to("loop.info")
    (directory / "copy.info").write_bytes(record(store).read_bytes())
    (directory / "of the app.txt").write_text("hello")
    assert list(store.expired(NOW)) == [info]


def test_sliding_expiry_follows_the_last_byte(store: FileStore) -> None:
    limits = Limits(max_age=60.0, sliding=True)
    info = filled(store, expires=NOW, limits=limits)
    touched = NOW + timedelta(minutes=10)
    os.utime(store.path(info), (touched.timestamp(), touched.timestamp()))
    assert store.get("a").expires == touched + timedelta(minutes=1)
    assert list(store.expired(touched + timedelta(seconds=59))) == []
    assert [due.id for due in store.expired(touched + timedelta(seconds=60))] == ["a"]


def test_record_of_another_id_is_not_found(store: FileStore) -> None:
    filled(store)
    record(store, "b").write_bytes(record(store).read_bytes())
    with pytest.raises(UploadNotFound):
        store.get("b")


def test_id_used_again_does_not_repeat_a_revision(store: FileStore) -> None:
    old = filled(store)
    store.terminate(old)
    filled(store)
    with pytest.raises(RecordChanged):
        store.update(old)


@pytest.mark.parametrize("later", ["none", "finish"])
def test_lower_durability_takes_over_what_a_higher_one_began(memory_path: Path, later: Durability) -> None:
    first = FileStore(memory_path, durability="always", system=RecordingSystem(memory_path, boot="first"))
    filled(first, b"abc", length=None)
    second = FileStore(memory_path, durability=later, system=RecordingSystem(memory_path, boot="first"))
    writer = second.open(second.get("a"), fence=None)
    writer.write([b"def"])
    assert writer.close() == 6
    third = FileStore(memory_path, durability=later, system=RecordingSystem(memory_path, boot="second"))
    assert third.get("a").offset == 6


def test_always_makes_durable_what_a_killed_process_left(memory_path: Path) -> None:
    system = RecordingSystem(memory_path)
    store = FileStore(memory_path, durability="always", system=system)
    writer = store.open(store.create(UploadInfo(id="a", length=6)), fence=None)
    writer.write([b"abc"])
    del writer
    before = len(system.events)
    assert store.get("a").offset == 3
    assert [event[0] for event in system.events[before:]] == ["sync", "write", "sync"]
    before = len(system.events)
    assert store.get("a").offset == 3
    assert system.events[before:] == []


def test_directory_is_claimed_by_one_process(store: FileStore) -> None:
    program = (
        "import sys; from tuspy_server.stores.file import FileStore\n"
        "from tuspy_server.errors import StoreError\n"
        "try: FileStore(sys.argv[1]).exclusive_marker(); print('claimed')\n"
        "except StoreError as exc: print(exc)"
    )
    command = [sys.executable, "-c", program, store.directory]
    with store.exclusive_marker() as marker:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "is in use by another process" in told
        assert store.directory in told
    marker.close()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "claimed\n"


def test_unknown_durability_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='"none", "finish" or "always"'):
        FileStore(tmp_path / "x", durability="sometimes")  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_finish_has_something_to_do_only_where_it_promises(tmp_path: Path) -> None:
    assert not FileStore(tmp_path, durability="none").finishes
    assert FileStore(tmp_path, durability="finish").finishes
    assert not FileStore(tmp_path, durability="always").finishes


BARE_PLATFORM = """
import os, sys, errno
for name in ("pwrite", "pwritev", "pread", "copy_file_range", "statvfs", "sysconf", "fdatasync", "O_NOFOLLOW",
             "O_DIRECTORY", "O_CLOEXEC", "splice", "sync"):
    if hasattr(os, name): delattr(os, name)
sys.modules["fcntl"] = None
sys.platform = "win32"
from dataclasses import replace
from tuspy_server.models import UploadInfo, State
from tuspy_server.stores.file import FileStore
store = FileStore(sys.argv[1], durability=sys.argv[2], min_free=1, path_template="sub/{id}")
info = store.create(UploadInfo(id="a", length=10))
writer = store.open(info, fence=None); writer.write([b"abc", b"", b"de"]); info = replace(info, offset=writer.close())
writer = store.stage(store.get("a"), fence=None); writer.write([b"xx"]); writer.discard()
writer = store.stage(store.get("a"), fence=None); writer.write([b"fgh", b"ij"]); assert writer.close() == 10
info = store.update(replace(store.get("a"), state=State.FINISHING)); store.finish(info)
assert b"".join(store.read(info, 0, 10)) == b"abcdefghij"
final = store.create(UploadInfo(id="final", length=10)); assert store.concat(final, [store.get("a")]).offset == 10
with store.exclusive_marker(): pass
store.terminate(info); assert [i.id for i in store.expired(info.created)] == []
print(store.get("final").offset)
"""


@pytest.mark.parametrize("durability", ["none", "finish", "always"])
def test_store_works_without_what_other_platforms_lack(tmp_path: Path, durability: str) -> None:
    command = [sys.executable, "-c", BARE_PLATFORM, str(tmp_path), durability]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("10\n", "")
