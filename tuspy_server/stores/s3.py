"""Uploads as objects in an S3 bucket, or in anything that speaks S3."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from tuspy_server.backends.s3 import Addressing, Bucket, Missing
from tuspy_server.errors import (
    RecordChanged,
    StoreError,
    StoreFailed,
    UploadExists,
    UploadGone,
    UploadNotFound,
    UploadTooLarge,
)
from tuspy_server.models import EMPTY, State, UploadInfo
from tuspy_server.stores import s3_objects as objects
from tuspy_server.stores.s3_concat import Source, fill
from tuspy_server.stores.s3_download import LONGEST, overrides, presigned_url, read_object
from tuspy_server.stores.s3_keys import ArgumentRule, KeyRule, Keys, object_arguments, side_arguments
from tuspy_server.stores.s3_parts import MIB, PartLimits, Plan, plan_parts
from tuspy_server.stores.s3_pool import ControlPool, PartPool
from tuspy_server.stores.s3_records import Records
from tuspy_server.stores.s3_staging import S3StagedWriter
from tuspy_server.stores.s3_upload import FullWriter, S3Writer, Target
from tuspy_server.stores.s3_view import View, owner_name


class S3Store:
    """Every upload is one multipart upload; records and bytes too few for a part are small objects beside it.

    - `bucket`: a bucket's name, with `client` or `endpoint_url`, `region`, `addressing` and `accelerate` if
      boto3's own configuration does not say it all; or a `Bucket`.
    - `prefix`: before every key, with "/" between. `side_prefix`: before records and side objects, by default
      `prefix` and ".tus/".
    - `key`: the finished object's key behind the prefix, a template with `{id}` and `{created:%Y/%m/%d}`, or a
      callable of the record. A hook may preset `storage["key"]`, which is taken without the prefix.
    - `arguments`: what finished objects are stored with, by boto3's names (StorageClass, ACL, ...), or a callable
      of the record. A hook may preset single ones as `storage["StorageClass"]`.
    - `limits`: sizes and numbers of parts.
    - `concurrency`: parts uploaded at once by this process. `memory_per_upload` and `memory`: bytes of full parts
      that one upload, and all of them, may hold at once; by default one upload may use all of `concurrency` with
      parts of `limits.part_size`. `spool`: a directory to keep parts in instead of memory.
    - `server_copies`: let the server copy on concatenation where the sources are large enough.
    - `conditional_writes`: whether the server keeps If-Match and If-None-Match; None tries it out once.
    - `expiry_tags`: tag side objects with tus-completed=false, and records of finished uploads with true, for
      lifecycle rules.

    - `redirect_downloads`: seconds for which a download's client gets a presigned URL instead of the bytes; 0 to send
      the bytes.

    Safe for any number of threads, processes and hosts, provided that they share a locker; with one whose tokens
    grow, a holder that lost its lock without noticing is never acknowledged.
    """

    default_locker: ClassVar[str] = "tuspy_server.lockers.object_store:ObjectStoreLocker"
    finishes: ClassVar[bool] = True
    slides: ClassVar[bool] = True

    def __init__(
        self,
        bucket: str | Bucket,
        *,
        prefix: str = "",
        side_prefix: str | None = None,
        key: KeyRule = "{id}",
        arguments: ArgumentRule = EMPTY,
        limits: PartLimits | None = None,
        concurrency: int = 10,
        memory_per_upload: int | None = None,
        memory: int = 512 * MIB,
        spool: str | PathLike[str] | None = None,
        server_copies: bool = True,
        conditional_writes: bool | None = None,
        expiry_tags: bool = False,
        redirect_downloads: float = 0,
        client: Any = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        addressing: Addressing = "auto",
        accelerate: bool = False,
    ) -> None:
        if not 0 <= redirect_downloads <= LONGEST:
            raise ValueError(f"S3Store: redirect_downloads is at most {LONGEST} seconds, and 0 is off")
        if isinstance(bucket, str):
            bucket = Bucket(
                bucket,
                client=client,
                endpoint_url=endpoint_url,
                region=region,
                addressing=addressing,
                accelerate=accelerate,
                connections=concurrency + 32,
            )
        self.bucket = bucket
        prefix = _folder(prefix)
        self.keys = Keys(prefix, prefix + ".tus/" if side_prefix is None else _folder(side_prefix), key)
        self._arguments = arguments
        self._limits = limits or PartLimits()
        self._memory_per_upload = memory_per_upload or concurrency * self._limits.part_size
        self._spool = None if spool is None else Path(spool)
        self._server_copies = server_copies
        self._tags = expiry_tags
        self._redirect_downloads = math.ceil(redirect_downloads)
        self._pool = PartPool(concurrency, memory)
        self._control = ControlPool()
        self._records = Records(bucket, self.keys, conditional=conditional_writes, tags=expiry_tags)

    def create(self, info: UploadInfo, /) -> UploadInfo:
        key = self.keys.object(info)
        plan = plan_parts(self._limits, info.length)
        storage = {**info.storage, "type": "s3", "bucket": self.bucket.name, "key": key, "plan": plan.encode()}
        if info.length == 0:
            return self._records.create(replace(info, storage=storage))
        multipart = self.bucket.call("create_multipart_upload", Key=key, **object_arguments(info, self._arguments))
        made = replace(info, storage={**storage, "multipart": multipart["UploadId"]})
        try:
            return self._records.create(made)
        except (StoreError, UploadExists) as exc:
            stored = None if isinstance(exc, UploadExists) else self._stored_all_the_same(made)
            if stored is None:
                objects.abort(self._target_of(made, multipart["UploadId"]))
                raise
            return stored

    def get(self, upload_id: str, /) -> UploadInfo:
        record, modified = self._records.read(upload_id)
        if record.state is State.GONE:
            raise UploadGone
        return self._described(record, modified)

    def update(self, info: UploadInfo, /) -> UploadInfo:
        return self._records.update(info)

    def open(self, info: UploadInfo, /, *, fence: int | None) -> S3Writer | FullWriter:
        return self._open(info, fence)

    def stage(self, info: UploadInfo, /, *, fence: int | None) -> S3StagedWriter | FullWriter:
        writer = self._open(info, fence)
        return writer if isinstance(writer, FullWriter) else S3StagedWriter(writer)

    def finish(self, info: UploadInfo, /) -> None:
        """Complete the multipart upload out of exactly the parts that are vouched for. Raises UploadGone if it was
        aborted and there is no finished object."""
        if info.length is None:
            raise StoreFailed("the upload has no length yet")
        target = self._target(info)
        if info.length == 0:
            objects.put_empty(self.bucket, self._key(info), object_arguments(info, self._arguments))
            if target is not None:
                objects.abort(target)
        elif target is None:
            raise StoreFailed("the record names no multipart upload")
        else:
            try:
                objects.complete(target, objects.look(target, self._control).view, info.length, info.id)
            except Missing as exc:
                if self._finished_size(info) != info.length:
                    raise UploadGone from exc
        objects.clear(self.bucket, self.keys.folder(info.id), must=False)

    def terminate(self, info: UploadInfo, /) -> None:
        folder = self.keys.folder(info.id)
        target = self._target(info)
        if target is not None:
            objects.abort(target)
        if "key" in info.storage and objects.finished(self.bucket, self._key(info), info.id) is not None:
            self.bucket.delete([self._key(info)])
        objects.clear(self.bucket, folder, must=True)
        if info.state is State.GONE and info.expires is not None:
            self._records.bury(replace(info, offset=0))
        else:
            self._records.remove(info)

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        sources = self._control.map(self._source, parts)
        total = sum(source.size for source in sources)
        if info.length is not None and info.length != total:
            raise StoreFailed(f"the partial uploads hold {total} of {info.length} bytes")
        if total == 0:
            return replace(info, offset=0)
        target = self._target(info)
        if target is None:
            raise StoreFailed("the record names no multipart upload")
        token = (0, time.time_ns())
        return replace(info, offset=fill(target, sources, token, server_copies=self._server_copies))

    def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        if length > self._limits.max_object_size:
            raise UploadTooLarge(f"the store takes at most {self._limits.max_object_size} bytes")
        return self._records.update(replace(info, length=length))

    def uploads(self) -> Iterator[UploadInfo]:
        """Every upload, tombstones too, by id; what is no readable record is passed over."""
        for upload_id in self._records.ids():
            with suppress(UploadNotFound):
                yield self._listed(upload_id)

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        listed: set[str] = set()
        for marker, upload_id in self._records.due(now):
            try:
                info = self._listed(upload_id)
            except UploadNotFound as exc:
                if not isinstance(exc, UploadGone):
                    self._records.move_marker(marker, upload_id, None)
                continue
            if info.expires is None or info.expires > now:
                self._records.move_marker(marker, upload_id, info.expires)
            elif upload_id not in listed:
                listed.add(upload_id)
                yield info

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        return read_object(self.bucket, info, start, stop)

    def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> str | None:
        if not self._redirect_downloads:
            return None
        return presigned_url(self.bucket, info, seconds=self._redirect_downloads, **overrides(headers))

    def download_url(self, info: UploadInfo, *, seconds: int = 900, **response_headers: str) -> str:
        """A presigned URL of the finished object, good for `seconds`; `response_headers` by boto3's names, such as
        ResponseContentDisposition."""
        return presigned_url(self.bucket, info, seconds=seconds, **response_headers)

    def _stored_all_the_same(self, made: UploadInfo) -> UploadInfo | None:
        """The new record if it was stored although the answer said otherwise."""
        with suppress(StoreError, UploadNotFound):
            stored = self._records.read(made.id)[0]
            if stored.storage.get("multipart") == made.storage["multipart"]:
                return stored
        return None

    def _described(self, record: UploadInfo, modified: datetime) -> UploadInfo:
        """The record with its offset and, where it slides, its expiry."""
        if record.state is State.COMPLETE:
            return replace(record, offset=record.length or 0)
        target = self._target(record)
        if target is None:
            return _slid(record, modified)
        try:
            seen = objects.look(target, self._control)
        except Missing as exc:
            size = self._finished_size(record)
            if size is None or record.length not in (None, size):
                raise UploadGone from exc
            return replace(record, offset=size)
        return _slid(replace(record, offset=seen.view.offset), max(modified, seen.modified or modified))

    def _listed(self, upload_id: str) -> UploadInfo:
        """The record of an upload that may be due; one whose bytes are gone is due all the same."""
        record, modified = self._records.read(upload_id)
        if record.state is State.GONE:
            return record
        try:
            return self._described(record, modified)
        except UploadGone:
            return record

    def _open(self, info: UploadInfo, fence: int | None) -> S3Writer | FullWriter:
        target = self._target(info)
        if target is None:
            self._records.read(info.id)
            return self._full(info, 0)
        if fence is not None:
            # Known before the look: of two owners at least one then sees the other.
            self.bucket.put(target.folder + owner_name(fence), b"", **target.side_arguments)
        try:
            seen = objects.look(target, self._control).view
        except Missing as exc:
            self._records.read(info.id)
            size = self._finished_size(info)
            if size is None:
                raise UploadGone from exc
            return self._full(info, size)
        if seen.offset != info.offset or (fence is not None and seen.highest_fence > fence):
            raise RecordChanged
        return S3Writer(target, seen, _token(seen, fence), fenced=fence is not None)

    def _full(self, info: UploadInfo, size: int) -> FullWriter:
        if info.offset != size:
            raise RecordChanged
        return FullWriter(size)

    def _target(self, info: UploadInfo) -> Target | None:
        """Where the upload's parts go; None for one that is empty by its length."""
        multipart = info.storage.get("multipart")
        return None if multipart is None else self._target_of(info, multipart)

    def _target_of(self, info: UploadInfo, multipart: str) -> Target:
        return Target(
            bucket=self.bucket,
            pool=self._pool,
            folder=self.keys.folder(info.id),
            key=self._key(info),
            upload_id=multipart,
            plan=Plan.decode(info.storage["plan"]),
            length=info.length,
            memory=self._memory_per_upload,
            spool=self._spool,
            side_arguments=side_arguments(State.OPEN, tags=self._tags),
        )

    def _key(self, info: UploadInfo) -> str:
        return info.storage["key"]

    def _finished_size(self, info: UploadInfo) -> int | None:
        made = objects.finished(self.bucket, self._key(info), info.id)
        return None if made is None else made.size

    def _source(self, part: UploadInfo) -> Source:
        """The finished object of a partial upload, finishing it first if that was interrupted."""
        if not part.is_full:
            raise StoreFailed("a partial upload is not complete")
        made = objects.finished(self.bucket, self._key(part), part.id)
        if made is None:
            try:
                self.finish(part)
            except UploadNotFound as exc:
                raise StoreFailed("a partial upload vanished") from exc
            made = objects.finished(self.bucket, self._key(part), part.id)
        if made is None or made.size != part.length:
            raise StoreFailed("a partial upload vanished or is short")
        return Source(self._key(part), made.size, made.etag)


def _folder(prefix: str) -> str:
    return f"{prefix}/" if prefix and not prefix.endswith("/") else prefix


def _token(seen: View, fence: int | None) -> tuple[int, int]:
    """The owner's place in the order of owners: by the lock's token, or by time among those without one."""
    if fence is not None:
        return fence, 0
    previous = seen.mark.token[1] if seen.mark and seen.mark.token[0] == seen.highest_fence else 0
    return seen.highest_fence, max(time.time_ns(), previous + 1)


def _slid(info: UploadInfo, modified: datetime) -> UploadInfo:
    """The record with its expiry moved by the last byte that was stored."""
    limits = info.limits
    if info.expires is None or not limits.sliding or limits.max_age is None:
        return info
    return replace(info, expires=max(info.expires, modified + timedelta(seconds=limits.max_age)))
