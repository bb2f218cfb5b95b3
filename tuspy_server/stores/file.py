"""Uploads as files in a directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

from tuspy_server.errors import (
    RecordChanged,
    StoreFailed,
    StoreFull,
    SyncFailed,
    TusError,
    UploadExists,
    UploadGone,
    UploadNotFound,
)
from tuspy_server.models import EPOCH, State, UploadInfo
from tuspy_server.stores import record_file
from tuspy_server.stores.data_file import DataFiles
from tuspy_server.stores.file_writer import FileWriter, StagedFileWriter, failure
from tuspy_server.stores.marker import DirectoryMarker
from tuspy_server.stores.paths import RECORD_SUFFIX, Paths, is_id
from tuspy_server.stores.record import Line, Pin, build, decode, encode, ends_at, moment, revised
from tuspy_server.stores.record_file import HeldRecord
from tuspy_server.stores.system import SYNC, System

Durability: TypeAlias = Literal["none", "finish", "always"]

P = ParamSpec("P")
R = TypeVar("R")

_MARKER = ".tuspy-server"
_UNREADABLE = (ValueError, KeyError, TypeError)


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
    umask. `min_free`: bytes of the file system to leave free; StoreFull beyond it.
    """

    default_locker = "tuspy_server.lockers.file:FileLocker"
    slides = True

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
        self._data = DataFiles(self._system, self._paths, file_mode, dir_mode)
        self.directory = self._paths.directory
        self.durability: Durability = durability
        self._always = durability == "always"
        self._early = durability != "none"
        self._file_mode = file_mode
        self._min_free = min_free
        self._boot = self._system.boot()
        self._condemned: set[str] = set()
        self._make_directory(self.directory, dir_mode)

    @property
    def finishes(self) -> bool:
        """Whether `finish` has anything to do."""
        return self.durability == "finish"

    def path(self, info: UploadInfo, /) -> Path:
        """Where the bytes of this upload are, whether or not the file is still there."""
        return Path(self._paths.data(self._paths.place(info)))

    @_maps_errors
    def create(self, info: UploadInfo, /) -> UploadInfo:
        record = self._paths.record(info.id)
        place = self._paths.choose(info)
        self.check_space()
        storage = {**info.storage, "path": place}
        fd = self._reserve(record, place, info.id)
        try:
            line = self._create_record(record, place, encode(info, storage))
        finally:
            self._system.close(fd)
        return revised(info, offset=0, storage=storage, revision=line.revision)

    @_maps_errors
    def get(self, upload_id: str, /) -> UploadInfo:
        line = record_file.load(self._system, self._paths.record(upload_id))
        try:
            fields = decode(line.body)
            if fields["id"] != upload_id:
                # a file system that does not tell case apart found another upload
                raise UploadNotFound
            info = self._restore(line, fields)
        except _UNREADABLE as exc:
            raise UploadGone from exc
        if info.state is State.GONE:
            raise UploadGone
        return replace(info, state=State.FAILED) if upload_id in self._condemned else info

    @_maps_errors
    def update(self, info: UploadInfo, /) -> UploadInfo:
        with self._held(info.id) as held:
            if not held.line.is_version(info.revision):
                raise RecordChanged
            if info.id in self._condemned and info.state not in (State.FAILED, State.GONE):
                raise SyncFailed
            line = self._append(held, info.id, encode(info), pin=held.line.pin)
        return revised(info, offset=info.offset, storage=info.storage, revision=line.revision)

    def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        return self.update(replace(info, length=length))

    @_maps_errors
    def open(self, info: UploadInfo, /, *, fence: int | None) -> FileWriter:
        """Append at `info.offset`. `fence` is not needed: the data file is locked while the writer is open.

        Raises RecordChanged also while another writer has it open.
        """
        fd = self._claim(info)
        return FileWriter(self, self._system, info.id, fd, info.offset, durable=self._always, early=self._early)

    @_maps_errors
    def stage(self, info: UploadInfo, /, *, fence: int | None) -> StagedFileWriter:
        """As `open`. A pin in the record keeps what is behind `info.offset` from counting until all of it is there."""
        fd = self._claim(info)
        try:
            with self._held(info.id) as held:
                if not held.line.is_version(info.revision):
                    raise RecordChanged
                self._append(held, info.id, pin=Pin(info.offset))
        except BaseException:
            self._data.release(fd)
            raise
        return StagedFileWriter(self, self._system, info.id, fd, info.offset, durable=self._always, early=self._early)

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
        if state == State.FAILED.value or info.id in self._condemned:
            raise SyncFailed
        if line.pin is not None and not line.pin.boot:
            raise RecordChanged
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
            with self._held(info.id) as held:
                self._bury(held, info if keep else replace(info, expires=EPOCH))
        except UploadGone:
            # no line can be read, so nothing tells where the bytes are but the caller
            self._data.remove(self._paths.place(info))
        except UploadNotFound:
            return
        if not keep:
            with suppress(FileNotFoundError):
                self._system.unlink(record)
        self._condemned.discard(info.id)

    @_maps_errors
    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        """As the protocol says; a pin in the record keeps every byte from counting until all are there."""
        fd = self._data.lock(self._paths.place(info))
        try:
            with self._held(info.id) as held:
                self._append(held, info.id, pin=Pin(0))
            self._system.truncate(fd, 0)
            try:
                offset = self._copy_parts(info, parts, fd)
            except BaseException:
                self._system.truncate(fd, 0)
                raise
            if self._always:
                self._sync(info.id, fd)
            self.vouch(info.id, offset)
        finally:
            self._data.release(fd)
        return replace(info, offset=offset)

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        """As the protocol says; what is no readable record is passed over."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                upload_id = entry.name.removesuffix(RECORD_SUFFIX)
                if upload_id == entry.name or not is_id(upload_id):
                    continue
                info = self._due(upload_id, now)
                if info is not None:
                    yield info

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
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

    def check_space(self) -> None:
        """Raises StoreFull if fewer than `min_free` bytes are free."""
        if self._min_free:
            free = self._system.free(self.directory)
            if free is not None and free < self._min_free:
                raise StoreFull

    def condemn(self, upload_id: str) -> None:
        """Mark the upload FAILED, as well as a failing disk allows."""
        self._condemned.add(upload_id)
        with suppress(OSError, TusError), self._held(upload_id) as held:
            self._condemn_held(held, upload_id)

    @_maps_errors
    def vouch(self, upload_id: str, size: int) -> None:
        """Let so many bytes of the data file count, from now on and, if all is promised, after a power loss."""
        with self._held(upload_id) as held:
            self._append(held, upload_id, pin=self._pin(size))

    def _make_directory(self, path: str, mode: int) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        self._make_directory(parent, mode)
        with suppress(FileExistsError):
            self._system.make_directory(path, mode)
        if self.durability != "none":
            record_file.sync_names(self._system, [parent])

    def _pin(self, durable: int) -> Pin | None:
        """The pin of an upload that has nothing staged."""
        return Pin(durable, self._boot) if self._always else None

    def _append(self, held: HeldRecord, upload_id: str, body: bytes | None = None, *, pin: Pin | None) -> Line:
        """A new version of the record if there is a body, else another pin on the same one."""
        try:
            return held.append(held.line.body if body is None else body, pin=pin, keep_version=body is None)
        except SyncFailed:
            self._condemn_held(held, upload_id)
            raise

    def _condemn_held(self, held: HeldRecord, upload_id: str) -> None:
        self._condemned.add(upload_id)
        with suppress(OSError, SyncFailed, *_UNREADABLE):
            held.append(encode(replace(_stored(held.line), state=State.FAILED)), pin=held.line.pin)

    def _held(self, upload_id: str) -> HeldRecord:
        return HeldRecord(self._system, self._paths.record(upload_id), sync=self._always)

    def _reserve(self, record: str, place: str, upload_id: str) -> int:
        try:
            return self._data.reserve(place)
        except UploadExists:
            if place != upload_id or not self._never_created(record):
                raise
        fd = self._data.adopt(place)
        try:
            if not self._never_created(record):
                raise UploadExists
            with suppress(FileNotFoundError):
                self._system.unlink(record)
        except BaseException:
            self._data.release(fd)
            raise
        return fd

    def _never_created(self, record: str) -> bool:
        """Whether a creation died between the data file and the record."""
        try:
            record_file.load(self._system, record)
        except UploadGone:
            return False
        except UploadNotFound:
            return True
        return False

    def _create_record(self, record: str, place: str, body: bytes) -> Line:
        try:
            pin = self._pin(0)
            line = record_file.create(self._system, record, body, pin, self._file_mode, sync=self._always)
        except FileExistsError:
            if self._place_in(record) not in (place, None):
                self._data.remove(place)
            raise UploadExists from None
        except BaseException:
            self._data.remove(place)
            raise
        try:
            if self._always:
                record_file.sync_names(self._system, self._paths.parents(self._paths.data(place)))
        except BaseException:
            self._system.unlink(record)
            self._data.remove(place)
            raise
        return line

    def _place_in(self, record: str) -> str | None:
        """Where the upload of this record has its bytes; None if that cannot be told."""
        try:
            return self._paths.place(_stored(record_file.load(self._system, record)))
        except (OSError, TusError, *_UNREADABLE):
            return None

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
                size = self._recover(info.id, fd)
            if size != info.offset:
                raise RecordChanged
        except BaseException as exc:
            self._data.release(fd)
            if isinstance(exc, FileNotFoundError):
                raise UploadNotFound from None
            raise
        return fd

    def _recover(self, upload_id: str, fd: int) -> int:
        """Cut off what does not count before anybody appends to it; the size that is left."""
        with self._held(upload_id) as held:
            if _stored(held.line).state is State.GONE:
                raise UploadGone
            size, pin = self._system.fstat(fd).st_size, held.line.pin
            if pin is None or (self._always and pin.boot == self._boot != ""):
                return size
            counted = pin.counted(size, self._boot)
            if size > counted:
                self._system.truncate(fd, counted)
            if self._always:
                self._sync(upload_id, fd, held=held)
            self._append(held, upload_id, pin=self._pin(counted))
            return counted

    def _restore(self, line: Line, fields: dict[str, Any], *, announce: bool = True) -> UploadInfo:
        """The record as a value, with what the data file knows. With `announce` the offset is about to be told."""
        state, length = fields.get("state"), fields.get("length")
        expires = moment(fields["expires"]) if "expires" in fields else None
        if state == State.GONE.value:
            return build(fields, offset=0, revision=line.revision, expires=expires)
        if state == State.COMPLETE.value and length is not None:
            return build(fields, offset=length, revision=line.revision, expires=expires)
        place = fields["storage"]["path"]
        found = self._data.stat(place)
        if found is None:
            if state != State.FAILED.value:
                raise UploadGone
            return build(fields, offset=0, revision=line.revision, expires=expires)
        offset = found.st_size if line.pin is None else line.pin.counted(found.st_size, self._boot)
        if self._always and announce and state is None:
            line = self._announce(line, fields["id"], place, offset)
        limits = fields.get("limits", {})
        if expires is not None and limits.get("sliding") and limits.get("max_age") is not None:
            expires = moment(found.st_mtime_ns // 1000) + timedelta(seconds=limits["max_age"])
        return build(fields, offset=offset, revision=line.revision, expires=expires)

    def _due(self, upload_id: str, now: datetime) -> UploadInfo | None:
        try:
            line = record_file.load(self._system, self._paths.record(upload_id))
            if b'"expires":' not in line.body:
                return None
            fields = decode(line.body)
            slides = fields.get("limits", {}).get("sliding")
            if fields["id"] != upload_id or (not slides and moment(fields["expires"]) > now):
                return None
            info = self._restore(line, fields, announce=False)
        except (OSError, TusError, *_UNREADABLE):
            return None
        return info if info.expires is not None and info.expires <= now else None

    def _bury(self, held: HeldRecord, info: UploadInfo) -> None:
        """Leave a tombstone and remove the bytes.

        Once they are gone it no longer says where they were: another upload may be placed there by name.
        """
        storage = dict(_stored(held.line).storage)
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
            self.check_space()
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
                self.vouch(info.id, info.offset)
            record_fd = hold(self._system.open(record, SYNC))
            names = [self._system.open_directory(path) for path in self._paths.parents(data)]
            self._sync(info.id, fd, record_fd, names=[hold(name) for name in names if name is not None])

    def _sync(self, upload_id: str, *fds: int, names: Sequence[int] = (), held: HeldRecord | None = None) -> None:
        """Make open files, then names in open directories durable. `held` is the upload's record, if it is."""
        try:
            for fd in fds:
                self._system.sync(fd)
            for directory in names:
                self._system.sync_names(directory)
        except OSError as exc:
            if held is None:
                self.condemn(upload_id)
            else:
                self._condemn_held(held, upload_id)
            raise SyncFailed from exc

    def _announce(self, line: Line, upload_id: str, place: str, offset: int) -> Line:
        """Make durable what is about to be told: a process may have died before it did."""
        if line.pin is not None and (line.pin.boot != self._boot or line.pin.offset >= offset):
            return line
        fd = self._system.open(self._paths.data(place), SYNC)
        try:
            self._sync(upload_id, fd)
        finally:
            self._system.close(fd)
        with self._held(upload_id) as held:
            pin = held.line.pin
            if pin is None or (pin.boot == self._boot and pin.offset < offset):
                self._append(held, upload_id, pin=self._pin(offset))
            return held.line


def _stored(line: Line) -> UploadInfo:
    """A record as it was written. Raises what `decode` and `build` raise."""
    fields = decode(line.body)
    expires = moment(fields["expires"]) if "expires" in fields else None
    return build(fields, offset=0, revision=line.revision, expires=expires)
