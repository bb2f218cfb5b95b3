"""What S3 says about an upload: its parts, its side objects, its finished object; and how these end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tuspy_server.backends.s3 import Bucket, Missing, quoted
from tuspy_server.errors import StoreError, StoreFailed, StoreUnavailable, UploadGone
from tuspy_server.stores.s3_keys import OWNER_METADATA
from tuspy_server.stores.s3_pool import ControlPool
from tuspy_server.stores.s3_upload import Target
from tuspy_server.stores.s3_view import Part, View, view

_log = logging.getLogger(__name__)

_ABORTS: Final = 3
_SIDE_OBJECTS: Final = ("tail-", "owner-", "stage-")


@dataclass(frozen=True, slots=True)
class Seen:
    """The durable prefix of an upload, and when the youngest of it was stored."""

    view: View
    modified: datetime | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished object."""

    size: int
    etag: str


def look(target: Target, control: ControlPool) -> Seen:
    """What is durable. Raises Missing if the multipart upload is not there (any more)."""
    parts, side = control.both(lambda: list(_list_parts(target)), lambda: list(target.bucket.list(target.folder)))
    parts.sort(key=lambda pair: (pair[0].number, pair[1]))
    names = [entry.key.removeprefix(target.folder) for entry in side]
    seen = view(
        (part for part, _ in parts),
        (name for name in names if name.startswith(_SIDE_OBJECTS)),
        lambda number, start: target.plan.full_size(number, start, target.length),
    )
    moments = [when for _, when in parts] + [entry.modified for entry in side]
    return Seen(seen, max(moments, default=None))


def _list_parts(target: Target) -> Iterator[tuple[Part, datetime]]:
    marker = 0
    while True:
        answer = target.bucket.call(
            "list_parts", Key=target.key, UploadId=target.upload_id, **({"PartNumberMarker": marker} if marker else {})
        )
        entries = answer.get("Parts", ())
        for entry in entries:
            yield Part(entry["PartNumber"], entry["Size"], quoted(entry["ETag"])), entry["LastModified"]
        if not answer.get("IsTruncated") or not entries:
            return
        # Some servers tell a marker that is off by one; the last number of the page is right on all.
        marker = max(entry["PartNumber"] for entry in entries)


def finished(bucket: Bucket, key: str, upload_id: str) -> Finished | None:
    """The object at `key` if it was made by this upload, else None."""
    try:
        answer = bucket.call("head_object", Key=key)
    except Missing:
        return None
    # Servers differ in the case of metadata names.
    metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    if metadata.get(OWNER_METADATA) != upload_id:
        return None
    return Finished(answer["ContentLength"], answer["ETag"])


def complete(target: Target, seen: View, length: int, upload_id: str) -> None:
    """Turn the parts and the tail into the object. Safe to repeat, also if an answer was lost."""
    if seen.offset != length:
        raise StoreFailed(f"{seen.offset} of {length} bytes are stored")
    parts = list(seen.parts)
    if seen.tail is not None:
        body = target.get_tail(seen.tail)
        parts.append(target.upload_part(len(parts) + 1, body, len(body)))
    named = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
    try:
        target.bucket.write(
            "complete_multipart_upload",
            Key=target.key,
            UploadId=target.upload_id,
            MultipartUpload={"Parts": named},
        )
    except (StoreError, Missing) as exc:
        made = finished(target.bucket, target.key, upload_id)
        if made is None or made.size != length:
            raise (UploadGone() if isinstance(exc, Missing) else exc) from exc


def put_empty(bucket: Bucket, key: str, arguments: dict[str, Any]) -> None:
    """Store an object of no bytes, since a multipart upload cannot be one."""
    bucket.put(key, b"", **arguments)


def abort(target: Target) -> None:
    """Free the parts; a part that was under way may land after an abort, so look again."""
    for _ in range(_ABORTS):
        try:
            target.bucket.call("abort_multipart_upload", Key=target.key, UploadId=target.upload_id)
            target.bucket.call("list_parts", Key=target.key, UploadId=target.upload_id, MaxParts=1)
        except Missing:
            return
    raise StoreUnavailable("S3 abort_multipart_upload leaves parts behind")


def clear(bucket: Bucket, folder: str, *, must: bool) -> None:
    """Remove the side objects of an upload, not its record. Unless they `must` go, a failure is only logged."""
    try:
        names = [entry.key for entry in bucket.list(folder)]
        bucket.delete([key for key in names if key.removeprefix(folder).startswith(_SIDE_OBJECTS)])
    except StoreError:
        if must:
            raise
        _log.warning("side objects of a finished upload could not be deleted", exc_info=True)
