"""Looking for damage in the directory of a file store, and mending it without losing bytes."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from stat import S_ISDIR, S_ISREG

from tuspy_server.errors import StoreFailed, TusError, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores import record_file
from tuspy_server.stores.auditing import Damage, Remedy
from tuspy_server.stores.data_file import DataFiles
from tuspy_server.stores.paths import RECORD_SUFFIX, SIDE_FILES, SPACE, Paths, is_id
from tuspy_server.stores.record import Line, encode
from tuspy_server.stores.system import READ_WRITE, System, failure
from tuspy_server.stores.upload_records import UNREADABLE, Records, stored

LOST = ".lost"
"""Where a repair puts what belongs to no upload. No upload can be placed there: its name starts with a dot."""

GRACE = 60.0
"""Seconds that a file without its counterpart, or a side file, is left to whoever may be busy with it."""

_OUR_ID = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = ".new-"
_OWN = frozenset({".locks", ".locks.d", ".tuspy-server", LOST, SPACE})


class FileAudit:
    """One look at a directory; an `Audit`. Records are read, never data."""

    def __init__(self, system: System, paths: Paths, data: DataFiles, records: Records) -> None:
        self._system = system
        self._paths = paths
        self._data = data
        self._records = records
        self._names = sorted(os.listdir(paths.directory))
        self._owners: Counter[str] = Counter()

    def count(self) -> int:
        return 2 * len(self._names)

    def damages(self) -> Iterator[Damage | None]:
        """Records first: they tell which data files are whose."""
        for name in self._names:
            upload_id = _recorded(name)
            if upload_id is not None:
                self._own(upload_id)
            yield None
        for name in self._names:
            found = self._look(name)
            yield found
            if found is None and self._is_directory(name) and name not in _OWN:
                yield from self._look_below(name)

    def confirm(self, damage: Damage) -> bool:
        name = damage.name if os.sep not in damage.name else ""
        return self._look(name) == damage if name else damage in self._look_below(damage.name.split(os.sep)[0])

    def repair(self, damage: Damage) -> None:
        try:
            _MEND[damage.remedy](self, damage)
        except OSError as exc:
            raise failure(exc) from exc

    def _own(self, upload_id: str) -> None:
        with suppress(OSError, TusError, *UNREADABLE):
            info = stored(self._load(upload_id))
            if info.state is not State.GONE:
                self._owners[self._paths.place(info)] += 1

    def _load(self, upload_id: str) -> Line:
        return record_file.load(self._system, self._paths.record(upload_id))

    def _look(self, name: str) -> Damage | None:
        if name in _OWN:
            return None
        if name.startswith(_TEMPORARY) and name.endswith(RECORD_SUFFIX):
            owner = name.removeprefix(_TEMPORARY).removesuffix(RECORD_SUFFIX)
            return self._left_behind(name, owner, "stray-temporary", "a record that was being rewritten")
        if name.lower().endswith(SIDE_FILES) and not name.endswith(RECORD_SUFFIX):
            return self._left_behind(name, "", "stray-side-file", "a lock or temporary file of nobody")
        upload_id = _recorded(name)
        if upload_id is not None:
            return self._look_at_record(name, upload_id)
        return self._look_at_data(name)

    def _left_behind(self, name: str, owner: str, problem: str, detail: str) -> Damage | None:
        if not self._is_old(name):
            return None
        if not self._is_file(name):
            return Damage("foreign-file", name, "", "not a plain file, and of no upload")
        return Damage(problem, name, owner if is_id(owner) else "", detail, Remedy.REMOVE)

    def _look_at_record(self, name: str, upload_id: str) -> Damage | None:
        if not self._is_file(name):
            return Damage("foreign-file", name, upload_id, "no plain file where a record should be")

        def aside(problem: str, detail: str) -> Damage:
            return Damage(problem, name, upload_id, detail, Remedy.SET_ASIDE)

        try:
            line = self._load(upload_id)
            info = stored(line)
        except UploadNotFound as exc:
            if not self._is_old(name):
                return None
            if isinstance(exc, UploadGone):
                return aside("unreadable-record", "no line of the record is whole")
            return Damage("unfinished-creation", name, upload_id, "an empty record", Remedy.REMOVE)
        except UNREADABLE:
            return aside("unreadable-record", "the record holds what no record holds")
        except OSError as exc:
            return Damage("unreadable-file", name, upload_id, f"the record cannot be read: {exc.strerror}")
        if info.id != upload_id:
            return aside("misnamed-record", "the record is of another upload")
        return self._look_at_upload(name, line, info, aside)

    def _look_at_upload(
        self, name: str, line: Line, info: UploadInfo, aside: Callable[[str, str], Damage]
    ) -> Damage | None:
        place = self._paths.place(info)
        try:
            data = self._data.stat(place)
        except StoreFailed:
            return aside("bad-path", "the record names a path outside the directory")
        if line.file_size > line.end:
            return Damage("torn-record", name, info.id, "the record's last line is torn", Remedy.CUT)
        if info.state is State.GONE:
            return self._look_at_grave(name, info, data is not None and not self._owners[place])
        if self._owners[place] > 1:
            return Damage("shared-data", name, info.id, "another record names the same data file as its own")
        if data is None:
            return None if info.state is State.COMPLETE else aside("missing-data", "the upload's bytes are not there")
        return self._look_at_size(name, line, info, data.st_size)

    def _look_at_grave(self, name: str, info: UploadInfo, has_data: bool) -> Damage | None:
        if has_data and self._is_old(name):
            return Damage("unburied-data", name, info.id, "bytes of a removed upload", Remedy.REMOVE)
        if info.expires is None:
            return Damage("endless-tombstone", name, info.id, "a removed upload that is never forgotten", Remedy.REMOVE)
        return None

    def _look_at_size(self, name: str, line: Line, info: UploadInfo, size: int) -> Damage | None:
        pin = line.pin
        counted = size if pin is None else pin.counted(size, self._system.boot())

        def failed(problem: str, detail: str) -> Damage | None:
            remedy = Remedy.NONE if info.state is State.COMPLETE else Remedy.FAIL
            return None if info.state is State.FAILED else Damage(problem, name, info.id, detail, remedy)

        if pin is not None and size < pin.offset:
            return failed("lost-bytes", f"{pin.offset} bytes were promised, {size} are there")
        if info.state in (State.FINISHING, State.COMPLETE) and info.length is None:
            return Damage("impossible-state", name, info.id, f"{info.state.value}, but of unknown length", Remedy.FAIL)
        if info.length is None:
            return None
        if info.state in (State.FINISHING, State.COMPLETE) and counted < info.length:
            return failed("short-data", f"{info.state.value} with {counted} of {info.length} bytes")
        if counted > info.length:
            return failed("excess-data", f"{counted} bytes of an upload of {info.length}")
        return None

    def _look_at_data(self, name: str) -> Damage | None:
        if self._owners[name] or self._is_directory(name) or not self._is_old(name):
            return None
        if not self._is_file(name) or not is_id(name):
            return Damage("foreign-file", name, "", "of no upload")
        try:
            info = stored(self._load(name))
        except (UploadGone, *UNREADABLE):
            return self._orphan(name)
        except UploadNotFound:
            if _OUR_ID.fullmatch(name) or os.path.lexists(self._paths.record(name)):
                return self._orphan(name)
            return Damage("foreign-file", name, "", "of no upload, and not named as we name them")
        except OSError:
            return None
        # the record may be younger than this audit
        is_its_own = info.id == name and self._paths.place(info) == name
        return None if info.state is State.GONE or is_its_own else self._orphan(name)

    def _orphan(self, name: str) -> Damage:
        if self._stat(name).st_size:
            return Damage("orphaned-data", name, name, "bytes without a record", Remedy.SET_ASIDE)
        return Damage("unfinished-creation", name, name, "an empty file without a record", Remedy.REMOVE)

    def _look_below(self, directory: str) -> Iterator[Damage]:
        """Subdirectories hold data where a template or a hook put it; what else is there is not ours to judge."""
        top = os.path.join(self._paths.directory, directory)
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                place = os.path.relpath(os.path.join(folder, name), self._paths.directory)
                if not self._owners[place.replace(os.sep, "/")] and self._is_old(place):
                    yield Damage("foreign-file", place, "", "of no upload")

    def _stat(self, name: str) -> os.stat_result:
        return self._system.stat(os.path.join(self._paths.directory, name))

    def _is_file(self, name: str) -> bool:
        return S_ISREG(self._stat(name).st_mode)

    def _is_directory(self, name: str) -> bool:
        try:
            return S_ISDIR(self._stat(name).st_mode)
        except FileNotFoundError:
            return False

    def _is_old(self, name: str) -> bool:
        """False also for what is not there any more."""
        try:
            return self._stat(name).st_mtime < time.time() - GRACE
        except FileNotFoundError:
            return False

    def _remove(self, damage: Damage) -> None:
        path = os.path.join(self._paths.directory, damage.name)
        if damage.problem == "unburied-data":
            self._data.remove(self._paths.place(stored(self._load(damage.upload_id))))
            return
        if damage.problem == "unfinished-creation" and not damage.name.endswith(RECORD_SUFFIX):
            self._data.release(self._data.adopt(damage.name))  # raises while a creation holds it
        self._system.unlink(path)

    def _set_aside(self, damage: Damage) -> None:
        """Move the file into LOST, under a name that nothing there has."""
        lost = os.path.join(self._paths.directory, LOST)
        os.makedirs(lost, exist_ok=True)
        target, number = os.path.join(lost, damage.name), 0
        while os.path.lexists(target):
            number += 1
            target = os.path.join(lost, f"{damage.name}.{number}")
        if damage.name.endswith(RECORD_SUFFIX):
            self._system.replace(os.path.join(self._paths.directory, damage.name), target)
            return
        fd = self._data.lock(damage.name)
        try:
            self._system.replace(os.path.join(self._paths.directory, damage.name), target)
        finally:
            self._data.release(fd)

    def _cut(self, damage: Damage) -> None:
        with self._records.held(damage.upload_id) as held:
            fd = self._system.open(self._paths.record(damage.upload_id), READ_WRITE)
            try:
                self._system.truncate(fd, held.line.end)
            finally:
                self._system.close(fd)

    def _fail(self, damage: Damage) -> None:
        """Its bytes stay where they are; no client is told any more that they are good."""
        with self._records.held(damage.upload_id) as held:
            info = stored(held.line)
            body = encode(replace(info, state=State.FAILED))
            self._records.append(held, info.id, body, pin=held.line.pin)


_MEND: dict[Remedy, Callable[[FileAudit, Damage], None]] = {
    Remedy.NONE: lambda audit, damage: None,
    Remedy.REMOVE: FileAudit._remove,
    Remedy.SET_ASIDE: FileAudit._set_aside,
    Remedy.CUT: FileAudit._cut,
    Remedy.FAIL: FileAudit._fail,
}


def _recorded(name: str) -> str | None:
    """The id whose record has this name."""
    upload_id = name.removesuffix(RECORD_SUFFIX)
    return upload_id if upload_id != name and is_id(upload_id) else None
