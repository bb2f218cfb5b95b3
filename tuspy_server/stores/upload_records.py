"""The records of a file store, and what each promises about the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from tuspy_server.errors import SyncFailed, TusError, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores import record_file
from tuspy_server.stores.data_file import DataFiles
from tuspy_server.stores.paths import Paths
from tuspy_server.stores.record import Line, Pin, build, decode, encode, moment
from tuspy_server.stores.record_file import HeldRecord
from tuspy_server.stores.system import SYNC, System, failure

Durability: TypeAlias = Literal["none", "finish", "always"]

UNREADABLE = (ValueError, KeyError, TypeError)


class Records:
    """The records of one store. `condemned` holds what lost bytes in this process, should the disk refuse to say so."""

    def __init__(self, system: System, paths: Paths, data: DataFiles, durability: Durability, file_mode: int) -> None:
        self._system = system
        self._paths = paths
        self._data = data
        self._boot = system.boot()
        self._file_mode = file_mode
        self.durable = durability == "always"
        self.condemned: set[str] = set()

    def create(self, upload_id: str, place: str, body: bytes) -> Line:
        """Make an empty data file and a record, both exclusively. Raises UploadExists; OSError, and leaves neither."""
        record = self._paths.record(upload_id)
        fd = self._reserve(record, place, upload_id)
        try:
            return self._create_record(record, place, body)
        finally:
            self._system.close(fd)

    def look_up(self, upload_id: str) -> UploadInfo | None:
        """The upload as it is; None if record and data file were looked at in different states, so look again.

        Raises UploadNotFound, UploadGone, OSError.
        """
        record = self._paths.record(upload_id)
        line = record_file.load(self._system, record)
        try:
            fields = decode(line.body)
            if fields["id"] != upload_id:
                # a file system that does not tell case apart found another upload
                raise UploadNotFound
            info = self.restore(line, fields)
        except UNREADABLE as exc:
            raise UploadGone from exc
        return info if self._is_current(record, line, info) else None

    def _is_current(self, record: str, line: Line, info: UploadInfo) -> bool:
        """Whether no pin can have come between the line and a look at the data file: what is behind it is staged."""
        staged = line.pin is not None and not line.pin.boot
        if staged or info.state is State.COMPLETE or info.state is State.GONE:
            return True
        try:
            return self._system.stat(record).st_size == line.file_size
        except FileNotFoundError:
            return False

    def held(self, upload_id: str) -> HeldRecord:
        return HeldRecord(self._system, self._paths.record(upload_id), sync=self.durable)

    def pin(self, durable: int) -> Pin | None:
        """The pin of an upload that has nothing staged."""
        return Pin(durable, self._boot) if self.durable else None

    def append(self, held: HeldRecord, upload_id: str, body: bytes | None = None, *, pin: Pin | None) -> Line:
        """A new version of the record if there is a body, else another pin on the same one."""
        try:
            return held.append(held.line.body if body is None else body, pin=pin, keep_version=body is None)
        except SyncFailed:
            self._condemn_held(held, upload_id)
            raise

    def vouch(self, upload_id: str, size: int) -> None:
        """Let so many bytes of the data file count, from now on and, if all is promised, after a power loss."""
        try:
            with self.held(upload_id) as held:
                self.append(held, upload_id, pin=self.pin(size))
        except OSError as exc:
            raise failure(exc) from exc

    def condemn(self, upload_id: str) -> None:
        """Mark the upload FAILED, as well as a failing disk allows."""
        self.condemned.add(upload_id)
        with suppress(OSError, TusError), self.held(upload_id) as held:
            self._condemn_held(held, upload_id)

    def _condemn_held(self, held: HeldRecord, upload_id: str) -> None:
        self.condemned.add(upload_id)
        with suppress(OSError, SyncFailed, *UNREADABLE):
            held.append(encode(replace(stored(held.line), state=State.FAILED)), pin=held.line.pin)

    def sync(self, upload_id: str, *fds: int, names: Sequence[int] = (), held: HeldRecord | None = None) -> None:
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
            pin = self.pin(0)
            line = record_file.create(self._system, record, body, pin, self._file_mode, sync=self.durable)
        except FileExistsError:
            if not self._may_own(record, place):
                self._data.remove(place)
            raise UploadExists from None
        except BaseException:
            self._data.remove(place)
            raise
        try:
            if self.durable:
                record_file.sync_names(self._system, self._paths.parents(self._paths.data(place)))
        except BaseException:
            self._system.unlink(record)
            self._data.remove(place)
            raise
        return line

    def _may_own(self, record: str, place: str) -> bool:
        """Whether the data file there may be the one of this record, made by a creation that came first."""
        try:
            info = stored(record_file.load(self._system, record))
        except (OSError, TusError, *UNREADABLE):
            return True
        return info.state is not State.GONE and self._paths.place(info) == place

    def recover(self, upload_id: str, fd: int) -> int:
        """Cut off what does not count before anybody appends to it; the size that is left."""
        with self.held(upload_id) as held:
            if stored(held.line).state is State.GONE:
                raise UploadGone
            size, pin = self._system.fstat(fd).st_size, held.line.pin
            if pin is None or (self.durable and pin.boot == self._boot != ""):
                return size
            counted = pin.counted(size, self._boot)
            if size > counted:
                self._system.truncate(fd, counted)
            if self.durable:
                self.sync(upload_id, fd, held=held)
            self.append(held, upload_id, pin=self.pin(counted))
            return counted

    def restore(self, line: Line, fields: dict[str, Any], *, announce: bool = True) -> UploadInfo:
        """The record as a value, with what the data file knows; GONE if there is none but should be.

        With `announce` the offset is about to be told.
        """
        state, length = fields.get("state"), fields.get("length")
        expires = moment(fields["expires"]) if "expires" in fields else None
        if state == State.GONE.value:
            return build(fields, offset=0, revision=line.revision, expires=expires)
        if state == State.COMPLETE.value and length is not None:
            return build(fields, offset=length, revision=line.revision, expires=expires)
        place = fields["storage"]["path"]
        found = self._data.stat(place)
        if found is None:
            end = State.FAILED if state == State.FAILED.value else State.GONE
            return build({**fields, "state": end.value}, offset=0, revision=line.revision, expires=expires)
        offset = found.st_size if line.pin is None else line.pin.counted(found.st_size, self._boot)
        if self.durable and announce and state is None:
            line = self._announce(line, fields["id"], place, offset)
        limits = fields.get("limits", {})
        if expires is not None and limits.get("sliding") and limits.get("max_age") is not None:
            expires = moment(found.st_mtime_ns // 1000) + timedelta(seconds=limits["max_age"])
        return build(fields, offset=offset, revision=line.revision, expires=expires)

    def _announce(self, line: Line, upload_id: str, place: str, offset: int) -> Line:
        """Make durable what is about to be told: a process may have died before it did."""
        if line.pin is not None and (line.pin.boot != self._boot or line.pin.offset >= offset):
            return line
        fd = self._system.open(self._paths.data(place), SYNC)
        try:
            self.sync(upload_id, fd)
        finally:
            self._system.close(fd)
        with self.held(upload_id) as held:
            # where the record changed meanwhile, other bytes may lie there now
            if held.line.file_size == line.file_size:
                self.append(held, upload_id, pin=self.pin(offset))
            return held.line


def place_of(line: Line) -> str:
    """Where the data file of an upload lies."""
    place = decode(line.body)["storage"]["path"]
    assert isinstance(place, str)
    return place


def stored(line: Line) -> UploadInfo:
    """A record as it was written. Raises what `decode` and `build` raise."""
    fields = decode(line.body)
    expires = moment(fields["expires"]) if "expires" in fields else None
    return build(fields, offset=0, revision=line.revision, expires=expires)
