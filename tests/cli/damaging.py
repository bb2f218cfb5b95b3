"""A directory of healthy uploads, and ways to damage it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.record import Pin, encode, line_bytes

NOW = datetime.now(UTC)
CONTENT = b"healthy bytes"
AGED = 3600.0


def put(
    store: FileStore, upload_id: str, *, content: bytes = CONTENT, state: State = State.OPEN, place: str | None = None
) -> UploadInfo:
    """An upload twice as long as its content, or, in another state, exactly as long."""
    length = len(content) * 2 if state is State.OPEN else len(content)
    storage = {"path": place} if place else {}
    info = store.create(UploadInfo(id=upload_id, length=length, created=NOW, storage=storage))
    writer = store.open(info, fence=None)
    writer.write([content])
    writer.close()
    info = store.get(upload_id)
    return info if state is State.OPEN else store.update(replace(info, state=state))


def healthy(store: FileStore) -> set[str]:
    """Uploads of every kind that a store leaves; their ids."""
    put(store, "1" * 32)
    put(store, "2" * 32, state=State.COMPLETE)
    put(store, "3" * 32, state=State.FINISHING)
    put(store, "named-by-a-hook")
    put(store, "4" * 32, place="2026/11/data")
    store.create(UploadInfo(id="5" * 32, length=None, created=NOW, kind=Kind.PARTIAL))
    store.path(put(store, "6" * 32, state=State.COMPLETE)).unlink()
    grave = put(store, "7" * 32)
    store.terminate(replace(grave, state=State.GONE, expires=NOW + timedelta(days=1)))
    put(store, "8" * 32, state=State.FAILED)
    store.stage(put(store, "9" * 32), fence=None).write([b"staged"])
    return {str(digit) * 32 for digit in range(1, 10)} | {"named-by-a-hook"}


def age(directory: Path) -> None:
    """Make everything old enough to be nobody's work."""
    for folder, folders, names in os.walk(directory):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            then = os.lstat(path).st_mtime - AGED
            os.utime(path, (then, then), follow_symlinks=False)


class Damaged:
    """One upload of the id `c0…` with whatever is done to it."""

    def __init__(self, store: FileStore, number: int) -> None:
        self.store = store
        self.id = f"{0xC0 + number:032x}"
        self.directory = Path(store.directory)
        self.record = self.directory / f"{self.id}.info"
        self.data = self.directory / self.id

    def write_record(self, info: UploadInfo, pin: Pin | None = None) -> None:
        self.record.write_bytes(line_bytes(1, pin, encode(info)))

    def info(self, **changes: Any) -> UploadInfo:
        made = UploadInfo(id=self.id, length=26, created=NOW, storage={"path": self.id})
        return replace(made, **changes)


def empty_record(at: Damaged) -> None:
    at.record.touch()


def empty_data(at: Damaged) -> None:
    at.data.touch()


def truncated_record(at: Damaged) -> None:
    put(at.store, at.id)
    os.truncate(at.record, 40)


def torn_last_line(at: Damaged) -> None:
    put(at.store, at.id)
    with at.record.open("ab") as file:
        file.write(b'0badc0de 17 - {"id"')


def garbage_record(at: Damaged) -> None:
    at.record.write_bytes(os.urandom(300))


def flipped_bit(at: Damaged) -> None:
    put(at.store, at.id)
    content = bytearray(at.record.read_bytes())
    content[30] ^= 1
    at.record.write_bytes(content)


def record_of_another_schema(at: Damaged) -> None:
    at.record.write_bytes(line_bytes(1, None, b'{"name":"x"}'))


def record_that_is_no_object(at: Damaged) -> None:
    at.record.write_bytes(line_bytes(1, None, b"[1]"))


def record_of_another_upload(at: Damaged) -> None:
    at.write_record(at.info(id="1" * 32))


def missing_data(at: Damaged) -> None:
    put(at.store, at.id)
    at.data.unlink()


def directory_for_data(at: Damaged) -> None:
    put(at.store, at.id)
    at.data.unlink()
    at.data.mkdir()


def link_for_data(at: Damaged) -> None:
    put(at.store, at.id)
    at.data.unlink()
    at.data.symlink_to("/etc/passwd")


def path_outside(at: Damaged) -> None:
    at.write_record(at.info(storage={"path": "../../etc/passwd"}))


def orphaned_data(at: Damaged) -> None:
    at.data.write_bytes(b"precious")


def unburied_data(at: Damaged) -> None:
    at.write_record(at.info(state=State.GONE, expires=NOW + timedelta(days=1)))
    at.data.write_bytes(b"to be removed")


def endless_tombstone(at: Damaged) -> None:
    at.write_record(at.info(state=State.GONE))


def lost_bytes(at: Damaged) -> None:
    at.write_record(at.info(), Pin(20))
    at.data.write_bytes(b"short")


def short_finishing(at: Damaged) -> None:
    at.write_record(at.info(state=State.FINISHING))
    at.data.write_bytes(b"short")


def excess_data(at: Damaged) -> None:
    at.write_record(at.info())
    at.data.write_bytes(bytes(27))


def finishing_of_unknown_length(at: Damaged) -> None:
    at.write_record(at.info(state=State.FINISHING, length=None))
    at.data.write_bytes(b"some")


def stray_temporary(at: Damaged) -> None:
    (at.directory / f".new-{at.id}.info").write_text("half a record")


def stray_lock(at: Damaged) -> None:
    (at.directory / f"{at.id}.lock").write_text("4711")


def stray_stage(at: Damaged) -> None:
    (at.directory / f"{at.id}.tmp").write_bytes(b"x")


def directory_for_record(at: Damaged) -> None:
    at.record.mkdir()


def foreign_file(at: Damaged) -> None:
    (at.directory / "README.txt").write_text("do not remove")


def foreign_hidden_file(at: Damaged) -> None:
    (at.directory / ".DS_Store").write_bytes(b"x")


def foreign_file_below(at: Damaged) -> None:
    (at.directory / "2026" / "notes").write_text("mine")


def shared_data(at: Damaged) -> None:
    (at.directory / "shared").write_bytes(b"whose?")
    at.write_record(at.info(storage={"path": "shared"}))
    other = Damaged(at.store, 0xE0)
    other.write_record(other.info(storage={"path": "shared"}))


# What is done, the problem that is reported for it, and what becomes of it.
DAMAGES: tuple[tuple[Callable[[Damaged], None], str, str], ...] = (
    (empty_record, "unfinished-creation", "removed"),
    (empty_data, "unfinished-creation", "removed"),
    (truncated_record, "unreadable-record", "set aside"),
    (torn_last_line, "torn-record", "cut"),
    (garbage_record, "unreadable-record", "set aside"),
    (flipped_bit, "unreadable-record", "set aside"),
    (record_of_another_schema, "unreadable-record", "set aside"),
    (record_that_is_no_object, "unreadable-record", "set aside"),
    (record_of_another_upload, "misnamed-record", "set aside"),
    (missing_data, "missing-data", "set aside"),
    (directory_for_data, "missing-data", "set aside"),
    (link_for_data, "missing-data", "set aside"),
    (path_outside, "bad-path", "set aside"),
    (orphaned_data, "orphaned-data", "set aside"),
    (unburied_data, "unburied-data", "removed"),
    (endless_tombstone, "endless-tombstone", "removed"),
    (lost_bytes, "lost-bytes", "marked failed"),
    (short_finishing, "short-data", "marked failed"),
    (excess_data, "excess-data", "marked failed"),
    (finishing_of_unknown_length, "impossible-state", "marked failed"),
    (stray_temporary, "stray-temporary", "removed"),
    (stray_lock, "stray-side-file", "removed"),
    (stray_stage, "stray-side-file", "removed"),
    (directory_for_record, "foreign-file", "left alone"),
    (foreign_file, "foreign-file", "left alone"),
    (foreign_hidden_file, "foreign-file", "left alone"),
    (foreign_file_below, "foreign-file", "left alone"),
    (shared_data, "shared-data", "left alone"),
)
