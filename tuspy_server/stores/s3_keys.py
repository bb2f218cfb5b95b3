"""Names and arguments: where an upload's object and its side objects lie, and what they are stored with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from tuspy_server.errors import StoreFailed, UploadNotFound
from tuspy_server.models import EPOCH, State, UploadInfo

KeyRule: TypeAlias = str | Callable[[UploadInfo], str]
ArgumentRule: TypeAlias = Mapping[str, Any] | Callable[[UploadInfo], Mapping[str, Any]]

#: User metadata of every object made here, by which it is told from another's under the same key.
OWNER_METADATA: Final = "tus-id"

_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,127}", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[\x20-\x7e]{1,200}", re.ASCII)
_ARGUMENT: Final = re.compile(r"[A-Z][A-Za-z]*", re.ASCII)
_LONGEST_KEY: Final = 1024
_MICROSECOND: Final = timedelta(microseconds=1)
_DUE: Final = re.compile(r"(\d{17})-(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Keys:
    """`prefix` is before the keys of finished objects, `side` before everything else; both as they stand."""

    prefix: str
    side: str
    rule: KeyRule

    def folder(self, upload_id: str) -> str:
        """Before the side objects of one upload, and of no other. Raises UploadNotFound for what is no id."""
        if not _ID.fullmatch(upload_id):
            raise UploadNotFound
        return f"{self.side}{upload_id}/"

    def record(self, upload_id: str) -> str:
        return self.folder(upload_id) + "info"

    def read_record(self, key: str) -> str | None:
        """The id whose record has this key."""
        upload_id, _, name = key.removeprefix(self.side).partition("/")
        return upload_id if name == "info" and _ID.fullmatch(upload_id) else None

    @property
    def due(self) -> str:
        """Before the markers that list uploads by the time at which they expire. No id begins with a dot."""
        return self.side + ".due/"

    @property
    def scratch(self) -> str:
        return self.side + ".probe"

    def marker(self, upload_id: str, when: datetime) -> str:
        """Names an upload that expires at `when`; sorts by time."""
        return f"{self.due}{max(0, (when - EPOCH) // _MICROSECOND):017d}-{upload_id}"

    def read_marker(self, key: str) -> tuple[datetime, str] | None:
        """The time and the id that a marker names."""
        found = _DUE.fullmatch(key.removeprefix(self.due))
        if found is None or not _ID.fullmatch(found[2]):
            return None
        return EPOCH + int(found[1]) * _MICROSECOND, found[2]

    def object(self, info: UploadInfo) -> str:
        """The key of the finished object: a hook's preset as it is, else prefix and rule.

        Raises StoreFailed for a key that S3 does not take or that lies among the side objects.
        """
        self.folder(info.id)
        key = info.storage.get("key") or self.prefix + self._ruled(info)
        if not key or len(key.encode("utf-8", "replace")) > _LONGEST_KEY or key.startswith(self.side):
            raise StoreFailed("the object key chosen for the upload is not usable")
        return key

    def _ruled(self, info: UploadInfo) -> str:
        if callable(self.rule):
            return self.rule(info)
        return self.rule.format(id=info.id, created=info.created)


def object_arguments(info: UploadInfo, rule: ArgumentRule) -> dict[str, Any]:
    """What the finished object is stored with, by boto3's names.

    The content type comes from the client's `filetype`, then the store's rule, then what a hook preset in
    `storage` under names such as "StorageClass" or "ContentDisposition".
    """
    arguments: dict[str, Any] = {}
    file_type = info.metadata.get("filetype", "")
    if _MEDIA_TYPE.fullmatch(file_type):
        arguments["ContentType"] = file_type
    arguments |= rule(info) if callable(rule) else rule
    arguments |= {name: value for name, value in info.storage.items() if _ARGUMENT.fullmatch(name)}
    return arguments | {"Metadata": {**arguments.get("Metadata", {}), OWNER_METADATA: info.id}}


def side_arguments(state: State, *, tags: bool) -> dict[str, str]:
    """What side objects are stored with: a tag that a lifecycle rule can tell left-overs by."""
    if not tags:
        return {}
    return {"Tagging": f"tus-completed={'true' if state is State.COMPLETE else 'false'}"}
