"""Uploads as files in a directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from tuspy_server.errors import (
    RecordChanged,
    StoreFailed,
    SyncFailed,
    TusError,
    UploadGone,
    UploadNotFound,
)
from tuspy_server.models import EPOCH, State, UploadInfo, changed
from tuspy_server.stores import record_file
from tuspy_server.stores.data_file import DataFiles
from tuspy_server.stores.file_audit import FileAudit
from tuspy_server.stores.file_writer import FileWriter, StagedFileWriter
from tuspy_server.stores.marker import DirectoryMarker
from tuspy_server.stores.paths import RECORD_SUFFIX, Paths, is_id
from tuspy_server.stores.record import Line, Pin, decode, encode, ends_at, moment
from tuspy_server.stores.record_file import HeldRecord
from tuspy_server.stores.system import SYNC, System, failure
from tuspy_server.stores.upload_records import UNREADABLE, Durability, Records, place_of, stored

P = ParamSpec("P")
R = TypeVar("R")

_MARKER = ".tuspy-server"


def _maps_errors(
    method: Callable[Concatenate[FileStore, P], R],
) -> Callable[Concatenate[FileStore, P], R]:
    """Let a method raise StoreError where a system call fails."""

    @wraps(method)
    def mapped(self: FileStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except OSError as exc:
            raise failure(exc) from exc

    return mapped


class FileStore:
    """Keeps each upload as a data file and a record `<id>.info` below `directory`, which is made if missing.

    The offset is the data file's size. The record is a text file of checksummed lines, the last whole one
    counts; it grows by a line when something other than the bytes changes.

    `durability`: what survives a power loss; a killed process loses nothing in any case.

    - "none": nothing is promised.
    - "finish": an upload is byte-exact once `finish` returned. Bytes of unfinished ones may be lost, and where
      the file system does not write bytes before sizes, be read as zeros.
    - "always": so is every offset that `close` or `get` told.

    `path_template` places data files in subdirectories, as "{created:%Y/%m/%d}/{id}"; fields are `id`,
    `created`, `principal` and `metadata`. A hook may preset `storage["path"]` instead. Modes are subject to the
    umask. `min_free`: bytes of the file system to leave free; StoreFull beyond it. `system` is for tests.
    """

    default_locker = "tuspy_server.lockers.file:FileLocker"
    slides = True
    is_local = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        durability: Durability = "finish",
        path_template: str | None = None,
        file_mode: int = 0o664,
        dir_mode: int = 0o775,
        min_free: int = 0,
        system: System | None = None,
    ) -> None:
        if durability not in ("none", "finish", "always"):
            raise ValueError('FileStore durability is "none", "finish" or "always"')
        self._system = system or System()
        self._paths = Paths(os.fspath(directory), path_template)
        self._data = DataFiles(self._system, self._paths, file_mode, dir_mode, min_free)
        self._records = Records(self._system, self._paths, self._data, durability, file_mode)
        self.directory = self._paths.directory
        self.durability: Durability = durability
        self._early = durability != "none"
        self._make_directory(self.directory, dir_mode)

    @property
    def finishes(self) -> bool:
        """Whether `finish` has anything to do."""
        return self.durability == "finish"

    @property
    def fences(self) -> bool:
        """Whether the file system keeps others out of a data file while a writer is open; tried out when asked."""
        return self._system.can_lock(self.directory)

    def path(self, info: UploadInfo, /) -> Path:
        """Where the bytes of this upload are, whether or not the file is still there."""
        return Path(self._paths.data(self._paths.place(info)))

    @_maps_errors
    def create(self, info: UploadInfo, /) -> UploadInfo:
        place = self._paths.choose(info)
        self._data.check_space()
        storage = {**info.storage, "path": place}
        line = self._records.create(info.id, place, encode(info, storage))
        return changed(info, offset=0, storage=storage, revision=line.revision)

    @_maps_errors
    def get(self, upload_id: str, /) -> UploadInfo:
        info = None
        while info is None:
            info = self._records.look_up(upload_id)
        if info.state is State.GONE:
            raise UploadGone
        return replace(info, state=State.FAILED) if upload_id in self._records.condemned else info

    @_maps_errors
    def update(self, info: UploadInfo, /) -> UploadInfo:
        with self._records.held(info.id) as held:
            if not held.line.is_version(info.revision):
                raise RecordChanged
            if info.id in self._records.condemned and info.state not in (State.FAILED, State.GONE):
                raise SyncFailed
            # a hook may replace the mapping, but the bytes stay where they are
            storage = {**info.storage, "path": place_of(held.line)}
            line = self._records.append(held, info.id, encode(info, storage), pin=held.line.pin)
        return changed(info, offset=info.offset, storage=storage, revision=line.revision)

    def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        return self.update(replace(info, length=length))

    @_maps_errors
    def open(self, info: UploadInfo, /, *, fence: int | None) -> FileWriter:
        """Append at `info.offset`. `fence` is not needed: the data file is locked while the writer is open.

        Raises RecordChanged also while another writer has it open.
        """
        fd = self._claim(info)
        return FileWriter(self._system, self._data, self._records, info.id, fd, info.offset, early=self._early)

    @_maps_errors
    def stage(self, info: UploadInfo, /, *, fence: int | None) -> StagedFileWriter:
        """As `open`. A pin in the record keeps what is behind `info.offset` from counting until all of it is there."""
        fd = self._claim(info)
        try:
            with self._records.held(info.id) as held:
                if not held.line.is_version(info.revision):
                    raise RecordChanged
                self._records.append(held, info.id, pin=Pin(info.offset))
        except BaseException:
            self._data.release(fd)
            raise
        return StagedFileWriter(self._system, self._data, self._records, info.id, fd, info.offset, early=self._early)

    @_maps_errors
    def finish(self, info: UploadInfo, /) -> None:
        """Make bytes, record and names durable, in this order; nothing is left to do unless durability is "finish".

        Raises SyncFailed for ever once any of it failed.
        """
        if self.durability == "none":
            return
        record = self._paths.record(info.id)
        line = record_file.load(self._system, record)
        state = decode(line.body).get("state")
        if state == State.FAILED.value or info.id in self._records.condemned:
            raise SyncFailed
        if line.pin is not None and not line.pin.boot:
            # a staged body that never ended lies behind the last byte that counts
            self._data.release(self._claim(info))
            line = record_file.load(self._system, record)
        place = self._paths.place(info)
        moved = state == State.COMPLETE.value and self._data.stat(place) is None
        if self.durability == "finish" and not moved:
            self._sync_all(info, line, record, self._paths.data(place))

    @_maps_errors
    def terminate(self, info: UploadInfo, /) -> None:
        """Bury the record before the bytes: a crash leaves the upload, or a tombstone that `expired` lists."""
        record = self._paths.record(info.id)
        keep = info.state is State.GONE and info.expires is not None
        try:
            with self._records.held(info.id) as held:
                self._bury(held, info if keep else replace(info, expires=EPOCH))
        except UploadGone:
            # no line can be read, so nothing tells where the bytes are but the caller
            self._data.remove(self._paths.place(info))
        except UploadNotFound:
            return
        if not keep:
            with suppress(FileNotFoundError):
                self._system.unlink(record)
        self._records.condemned.discard(info.id)

    @_maps_errors
    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        """As the protocol says; a pin in the record keeps every byte from counting until all are there."""
        fd = self._data.lock(self._paths.place(info))
        try:
            with self._records.held(info.id) as held:
                self._records.append(held, info.id, pin=Pin(0))
            self._system.truncate(fd, 0)
            try:
                offset = self._copy_parts(info, parts, fd)
            except BaseException:
                self._system.truncate(fd, 0)
                raise
            if self._records.durable:
                self._records.sync(info.id, fd)
            self._records.vouch(info.id, offset)
        finally:
            self._data.release(fd)
        return replace(info, offset=offset)

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        """As the protocol says; what is no readable record is passed over, what lost its file is GONE."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                upload_id = entry.name.removesuffix(RECORD_SUFFIX)
                if upload_id == entry.name or not is_id(upload_id):
                    continue
                info = self._due(upload_id, now)
                if info is not None:
                    yield info

    def uploads(self) -> Iterator[UploadInfo]:
        """Every upload, tombstones too, by name; what is no readable record is passed over."""
        for name in sorted(os.listdir(self.directory)):
            upload_id = name.removesuffix(RECORD_SUFFIX)
            if upload_id != name and is_id(upload_id):
                with suppress(OSError, TusError):
                    info = None
                    while info is None:
                        info = self._records.look_up(upload_id)
                    yield info

    def audit(self) -> FileAudit:
        """A look at the directory for damage, as `tuspy-server verify` takes it."""
        return FileAudit(self._system, self._paths, self._data, self._records)

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Generator[bytes, None, None]:
        try:
            yield from self._data.pieces(self._paths.place(info), start, stop)
        except OSError as exc:
            raise failure(exc) from exc

    @_maps_errors
    def exclusive_marker(self) -> DirectoryMarker:
        """Claim the directory for this process until the marker is closed or the process ends.

        For lockers that see one process only. Raises StoreFailed with a sentence while another process has it.
        """
        return DirectoryMarker(self._system, os.path.join(self.directory, _MARKER))

    def _make_directory(self, path: str, mode: int) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        self._make_directory(parent, mode)
        with suppress(FileExistsError):
            self._system.make_directory(path, mode)
        if self.durability != "none":
            record_file.sync_names(self._system, [parent])

    def _claim(self, info: UploadInfo) -> int:
        """The data file, open and locked, its size the upload's offset."""
        record = self._paths.record(info.id)
        try:
            fd = self._data.lock(self._paths.place(info))
        except FileNotFoundError:
            record_file.load(self._system, record)
            raise UploadGone from None
        try:
            size = self._system.fstat(fd).st_size
            if size > info.offset or not ends_at(info.revision, self._system.stat(record).st_size):
                size = self._records.recover(info.id, fd)
            if size != info.offset:
                raise RecordChanged
        except BaseException as exc:
            self._data.release(fd)
            if isinstance(exc, FileNotFoundError):
                raise UploadNotFound from None
            raise
        return fd

    def _due(self, upload_id: str, now: datetime) -> UploadInfo | None:
        try:
            line = record_file.load(self._system, self._paths.record(upload_id))
            if b'"expires":' not in line.body:
                return None
            fields = decode(line.body)
            slides = fields.get("limits", {}).get("sliding")
            if fields["id"] != upload_id or (not slides and moment(fields["expires"]) > now):
                return None
            info = self._records.restore(line, fields, announce=False)
        except (OSError, TusError, *UNREADABLE):
            return None
        return info if info.expires is not None and info.expires <= now else None

    def _bury(self, held: HeldRecord, info: UploadInfo) -> None:
        """Leave a tombstone and remove the bytes.

        Once they are gone it no longer says where they were: another upload may be placed there by name.
        """
        storage = dict(stored(held.line).storage)
        place = storage.get("path")
        grave = replace(info, state=State.GONE)
        held.append(encode(grave, storage), pin=None)
        if place is None:
            return
        self._data.remove(place)
        if place != info.id:
            del storage["path"]
            held.append(encode(grave, storage), pin=None)

    def _copy_parts(self, info: UploadInfo, parts: Sequence[UploadInfo], fd: int) -> int:
        offset = 0
        for part in parts:
            self._data.check_space()
            offset += self._data.copy(part, fd, offset)
        if info.length is not None and info.length != offset:
            raise StoreFailed("the partial uploads do not add up to the length of the final one")
        for part in parts:
            found = self._data.stat(self._paths.place(part))
            if found is None or found.st_size != part.length:
                raise StoreFailed("a partial upload changed while it was copied")
        return offset

    def _sync_all(self, info: UploadInfo, line: Line, record: str, data: str) -> None:
        with ExitStack() as opened:

            def hold(fd: int) -> int:
                opened.callback(self._system.close, fd)
                return fd

            try:
                fd = hold(self._system.open(data, SYNC))
            except FileNotFoundError:
                raise UploadGone from None
            if self._system.fstat(fd).st_size != info.offset:
                raise RecordChanged
            if line.pin is not None:
                self._records.vouch(info.id, info.offset)
            record_fd = hold(self._system.open(record, SYNC))
            names = []
            for path in self._paths.parents(data):
                if (name := self._system.open_directory(path)) is not None:
                    names.append(hold(name))
            self._records.sync(info.id, fd, record_fd, names=names)
