"""Leased locks in the bucket itself: nothing is needed but conditional writes."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar, cast

from tuspy_server.errors import LockerUnavailable, StoreError, StoreFailed
from tuspy_server.interfaces import DataStore
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout, now
from tuspy_server.lockers.polled import Pool, Sightings

T = TypeVar("T")


class StoredObject(Protocol):
    """A small object as read: its bytes, and the version that a conditional write names."""

    @property
    def body(self) -> bytes: ...
    @property
    def version(self) -> str: ...


class ConditionalObjects(Protocol):
    """What a bucket must be able to do; those in `tuspy_server.backends` can. Every method raises StoreError.

    Reads and listings must see every write that was answered before. A conditional write that was repeated
    because its answer got lost must recognize its own bytes. Optional: `hasty(timeout)`, the same bucket through
    connections that give up after so many seconds, since a lock is no use to a request that has waited long for it;
    `has_conditional_writes(key)`, whether the service keeps conditions at all, tried out on an object of that name.
    """

    def get(self, key: str) -> StoredObject | None:
        """The object, or None if there is none."""

    def put_if_absent(self, key: str, body: bytes) -> str | None:
        """Store an object where there is none; its version, or None if one is there."""

    def put_if_match(self, key: str, body: bytes, version: str) -> str | None:
        """Replace the object while it still is `version`; the new version, or None if it is not."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""

    def list(self, prefix: str) -> Iterable[object]:
        """Objects whose keys begin with `prefix`: the keys, or things with an attribute `key`."""
        ...


class _HasBucket(Protocol):
    @property
    def bucket(self) -> ConditionalObjects: ...


class ObjectStoreLocker(LeasedLocker):
    """Locks shared by all servers that use one bucket of S3, Google Cloud Storage or the like.

    Each upload has one small object below `prefix` that is replaced by conditional writes. It stays after the
    lock was released, for it counts the tokens: give the prefix a lifecycle rule of a week or more. A lock whose
    holder died is free once somebody who wants it has seen it unchanged for `lease` seconds.

    Requests to the bucket: 1 read and 2 writes per lock; 10800 / `lease` writes per hour and held lock (720 by
    default); 3600 / `poll_interval` listings per hour of each process that holds any (3600 by default), which
    is how it learns of release requests; 1 write per release request. Before the first lock 4 writes and a deletion
    find out whether the service keeps conditions; raises StoreFailed if it does not.
    """

    def __init__(
        self,
        bucket: ConditionalObjects,
        *,
        lease: float = 15.0,
        retry_interval: float = 0.5,
        poll_interval: float = 1.0,
        prefix: str = ".locks/",
    ) -> None:
        if not poll_interval > 0:
            raise ValueError("poll_interval is seconds and must be greater than 0")
        hasty: Callable[[float], ConditionalObjects] = getattr(bucket, "hasty", lambda timeout: bucket)
        self._bucket_service = _ObjectService(hasty(network_timeout(lease)), prefix, poll_interval)
        super().__init__(self._bucket_service, lease=lease, retry_interval=retry_interval)

    def check(self) -> None:
        """Raise StoreFailed with a sentence if the service keeps no conditions; the first lock does it otherwise.

        Raises LockerUnavailable where that cannot be found out now.
        """
        self._bucket_service.check()

    @classmethod
    def for_store(cls, store: DataStore, *, lease: float = 15.0) -> ObjectStoreLocker:
        """A locker in the store's own bucket, for a composer that was given none."""
        return cls(cast("_HasBucket", store).bucket, lease=lease)


@dataclass(frozen=True, slots=True)
class _Record:
    """What lies in a lock's object. `owner` is empty while it is free; `beat` changes with every renewal."""

    owner: str
    lease: float
    token: int
    beat: int = 0

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True)
class _Found:
    record: _Record
    version: str


class _ObjectService:
    def __init__(self, bucket: ConditionalObjects, prefix: str, poll_interval: float) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._poll_interval = poll_interval
        self._keeps_conditions: bool | None = None
        self.forget()

    def check(self) -> None:
        """Raises StoreFailed if the bucket keeps no conditions."""
        if self._keeps_conditions is None:
            with self._mutex:  # one thread finds out for all
                if self._keeps_conditions is None:
                    self._keeps_conditions = self._find_out()
        if not self._keeps_conditions:
            raise StoreFailed(
                "the bucket's service ignores conditions of writes (If-None-Match, If-Match): locks in it would keep "
                "nobody out; choose another locker"
            )

    def _find_out(self) -> bool:
        keeps: Callable[[str], bool] = getattr(self._bucket, "has_conditional_writes", lambda key: True)
        return self._call(lambda: keeps(f"{self._prefix}~probe-{secrets.token_hex(8)}"))

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        self.check()
        asked_at = now()  # not before: finding out about conditions takes several requests, and no lease
        name = lock_name(upload_id)
        found = self._find(name)
        if found is not None and not self._may_take(name, found, owner):
            return None
        # The clock is but the floor of a new counter: it makes up for one that a lifecycle rule removed.
        token = int(time.time() * 1000) if found is None else found.record.token + 1
        record = _Record(owner, lease, token)
        if self._write(name, record, found) is None:
            return None
        self._sightings.forget(name)
        self._withdraw(name)
        return Grant(token, asked_at)

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        return self._pool.each(lambda owner: self._renew(held[owner], owner), held)

    def release(self, upload_id: str, owner: str, /) -> None:
        self._change(upload_id, owner, lambda record: replace(record, owner=""))
        self._current.pop(owner, None)

    def request(self, upload_id: str, /) -> None:
        name = lock_name(upload_id)
        owner = self._seen.get(name)
        if owner is None:
            found = self._find(name)
            owner = "" if found is None else found.record.owner
        key = self._wish_key(owner)
        asked = self._wishes.get(name)
        if not owner or (asked is not None and asked[0] == key and now() - asked[1] < self._poll_interval):
            return
        self._call(lambda: self._bucket.put_if_absent(key, b"{}"))
        self._wishes[name] = key, now()

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        time.sleep(self._poll_interval)
        owners = held()
        if not owners:
            return []
        prefix = self._wish_key(process)
        keys = self._call(lambda: [str(getattr(each, "key", each)) for each in self._bucket.list(prefix)])
        if keys:
            self._call(lambda: self._bucket.delete(keys))
        return [owner for key in keys if (owner := key.rpartition("/")[2]) in owners]

    def forget(self) -> None:
        self._mutex = threading.Lock()
        self._current: dict[str, _Found] = {}
        self._seen: dict[str, str] = {}
        self._wishes: dict[str, tuple[str, float]] = {}
        self._sightings = Sightings()
        self._pool = Pool()

    def _may_take(self, name: str, found: _Found, owner: str) -> bool:
        record = found.record
        if record.owner in ("", owner):
            return True
        self._remember_holder(name, record.owner)
        return self._sightings.is_dead(name, found.version, record.lease)

    def _remember_holder(self, name: str, owner: str) -> None:
        with self._mutex:
            self._seen.pop(name, None)
            self._seen[name] = owner
            if len(self._seen) > 10_000:
                del self._seen[next(iter(self._seen))]

    def _renew(self, upload_id: str, owner: str) -> bool:
        return self._change(upload_id, owner, lambda record: replace(record, beat=record.beat + 1))

    def _change(self, upload_id: str, owner: str, change: Callable[[_Record], _Record]) -> bool:
        """Replace our record; False if it is not ours any more. A write whose answer was lost makes us read it anew."""
        name = lock_name(upload_id)
        found = self._current.get(owner)
        if found is not None and self._write(name, change(found.record), found) is not None:
            return True
        found = self._find(name)
        if found is None or found.record.owner != owner:
            return False
        return self._write(name, change(found.record), found) is not None

    def _write(self, name: str, record: _Record, found: _Found | None) -> str | None:
        key, body = f"{self._prefix}{name}", record.encoded()
        if found is None:
            version = self._call(lambda: self._bucket.put_if_absent(key, body))
        else:
            version = self._call(lambda: self._bucket.put_if_match(key, body, found.version))
        if version is not None and record.owner:
            self._current[record.owner] = _Found(record, version)
        return version

    def _find(self, name: str) -> _Found | None:
        stored = self._call(lambda: self._bucket.get(f"{self._prefix}{name}"))
        return None if stored is None else _Found(_Record(**json.loads(stored.body)), stored.version)

    def _withdraw(self, name: str) -> None:
        """Remove the wish that nobody answered."""
        with self._mutex:
            self._seen.pop(name, None)
            wish = self._wishes.pop(name, None)
        if wish is not None:
            key = wish[0]
            self._call(lambda: self._bucket.delete([key]))

    def _wish_key(self, owner: str) -> str:
        """One folder per process; with a process's name alone, the folder."""
        process, _, number = owner.partition("-")
        return f"{self._prefix}~wishes/{process}/{owner if number else ''}"

    @staticmethod
    def _call(call: Callable[[], T]) -> T:
        try:
            return call()
        except StoreError as exc:
            raise LockerUnavailable from exc
