"""Records as objects, exclusively created, replaced under their ETag; and which of them are due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from tuspy_server.backends.s3 import Bucket
from tuspy_server.errors import RecordChanged, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.s3_keys import Keys, side_arguments
from tuspy_server.stores.s3_record import decode_record, encode_record

#: Where the record names the marker that lists it as due, so that the marker can be removed with it.
_MARKED: Final = "due"


class Records:
    """One object per upload. `conditional` says whether the server keeps If-Match and If-None-Match, None to
    find out once; without them two writers are told apart only by the lock they hold.
    """

    def __init__(self, bucket: Bucket, keys: Keys, *, conditional: bool | None, tags: bool) -> None:
        self._bucket = bucket
        self._keys = keys
        self._known = conditional
        self._tags = tags

    def create(self, info: UploadInfo) -> UploadInfo:
        """Store a new record. Raises UploadExists."""
        info = self._mark_due(replace(info, offset=0))
        key, body, arguments = self._keys.record(info.id), encode_record(info), self._arguments(info)
        if self._conditional:
            version = self._bucket.put_if_absent(key, body, **arguments)
        else:
            version = None if self._bucket.get(key) else self._bucket.put(key, body, **arguments)
        if version is None:
            raise UploadExists
        return replace(info, revision=version)

    def read(self, upload_id: str) -> tuple[UploadInfo, datetime]:
        """The record with offset 0, and when it was stored. Raises UploadNotFound, UploadGone if unreadable."""
        stored = self._bucket.get(self._keys.record(upload_id))
        if stored is None:
            raise UploadNotFound
        try:
            return decode_record(stored.body, revision=stored.version), stored.modified
        except ValueError as exc:
            raise UploadGone("the record is unreadable") from exc

    def update(self, info: UploadInfo) -> UploadInfo:
        """Replace the record that has the revision of `info`. Raises RecordChanged, UploadNotFound."""
        marked = self._mark_due(info)
        key, body, arguments = self._keys.record(info.id), encode_record(marked), self._arguments(info)
        version = None
        if self._conditional and info.revision:
            version = self._bucket.put_if_match(key, body, info.revision, **arguments)
        elif self.read(info.id)[0].revision == info.revision:
            version = self._bucket.put(key, body, **arguments)
        if version is None:
            self.read(info.id)
            raise RecordChanged
        return replace(marked, revision=version)

    def bury(self, info: UploadInfo) -> None:
        """Replace the record by a tombstone, whatever it was."""
        marked = self._mark_due(info)
        self._bucket.put(self._keys.record(info.id), encode_record(marked), **self._arguments(info))

    def remove(self, info: UploadInfo) -> None:
        """Remove the record and the marker it names."""
        marker = info.storage.get(_MARKED)
        self._bucket.delete([self._keys.record(info.id), *([self._keys.due + marker] if marker else [])])

    def ids(self) -> Iterator[str]:
        """Of every record, tombstones too."""
        for entry in self._bucket.list(self._keys.side):
            if (upload_id := self._keys.read_record(entry.key)) is not None:
                yield upload_id

    def due(self, now: datetime) -> Iterator[tuple[str, str]]:
        """Marker key and id of what may be due: markers sort by time, so only those are looked at."""
        for entry in self._bucket.list(self._keys.due):
            found = self._keys.read_marker(entry.key)
            if found is None:
                continue
            when, upload_id = found
            if when > now:
                return
            yield entry.key, upload_id

    def move_marker(self, marker: str, upload_id: str, when: datetime | None) -> None:
        """List the upload as due at `when` instead, or no more."""
        new = None if when is None else self._keys.marker(upload_id, when)
        if new == marker:
            return
        if new is not None:
            self._bucket.put(new, b"")
        self._bucket.delete([marker])

    @property
    def _conditional(self) -> bool:
        if self._known is None:
            self._known = self._bucket.has_conditional_writes(self._keys.scratch)
        return self._known

    def _mark_due(self, info: UploadInfo) -> UploadInfo:
        """List the upload under its expiry before the record says so. A marker that is no longer right is removed
        when its time comes."""
        if info.expires is None:
            return info
        marker = self._keys.marker(info.id, info.expires)
        name = marker.removeprefix(self._keys.due)
        if info.storage.get(_MARKED) == name:
            return info
        self._bucket.put(marker, b"")
        return replace(info, storage={**info.storage, _MARKED: name})

    def _arguments(self, info: UploadInfo) -> dict[str, str]:
        state = State.COMPLETE if info.state is State.COMPLETE and info.expires is None else State.OPEN
        return side_arguments(state, tags=self._tags)
