"""Locks that are leases of blobs in the container itself: Azure ends them, and knows who has which."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol, TypeVar, cast
from uuid import NAMESPACE_OID, uuid5

from tuspy_server.backends.azure import Container, Missing, Refused
from tuspy_server.backends.azure_leases import LONGEST, SHORTEST, Leases
from tuspy_server.errors import LockerUnavailable, StoreError
from tuspy_server.interfaces import DataStore
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout, now
from tuspy_server.lockers.polled import Pool

T = TypeVar("T")


class _HasContainer(Protocol):
    @property
    def container(self) -> Container: ...


class AzureLeaseLocker(LeasedLocker):
    """Locks shared by all servers that use one container of Azure Blob Storage.

    Each upload has one small blob below `prefix`, leased while the upload is locked. It stays after that, for it
    counts the tokens: give the prefix a lifecycle rule of a week or more. `lease` is 15 to 60 seconds, as Azure has
    it; a lock whose holder died is free when they are over.

    Requests to the container: 3 per lock and 1 per release; 10800 / `lease` per hour and held lock; 3600 /
    `poll_interval` listings per hour of each process that holds any, which is how it learns of release requests; 2
    per release request. Give a ready `client` of the container's timeouts well below the lease.
    """

    def __init__(
        self,
        container: Container,
        *,
        lease: float = 15.0,
        retry_interval: float = 0.5,
        poll_interval: float = 1.0,
        prefix: str = ".locks/",
    ) -> None:
        if not SHORTEST <= lease <= LONGEST:
            raise ValueError(f"lease is seconds and Azure grants {SHORTEST} to {LONGEST}")
        if not poll_interval > 0:
            raise ValueError("poll_interval is seconds and must be greater than 0")
        service = _BlobLeases(container.hasty(network_timeout(lease)), prefix, poll_interval)
        super().__init__(service, lease=lease, retry_interval=retry_interval)

    @classmethod
    def for_store(cls, store: DataStore, *, lease: float = 15.0) -> AzureLeaseLocker:
        """A locker in the store's own container, for a composer that was given none."""
        return cls(cast("_HasContainer", store).container, lease=lease)


class _BlobLeases:
    """The lease of a blob is the lock; the blob's bytes tell who has it, and count the acquisitions."""

    def __init__(self, container: Container, prefix: str, poll_interval: float) -> None:
        self._container = container
        self._leases = Leases(container)
        self._prefix = prefix
        self._poll_interval = poll_interval
        self.forget()

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        key = self._key(upload_id)
        try:
            self._call(lambda: self._take(key, _lease_id(owner), int(lease)))
            token = self._call(lambda: self._sign(key, owner))
        except (Missing, Refused):
            return None
        self._withdraw(upload_id)
        return Grant(token)

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        return self._pool.each(lambda owner: self._renew(held[owner], owner), held)

    def release(self, upload_id: str, owner: str, /) -> None:
        with suppress(Missing, Refused):
            self._call(lambda: self._leases.release(self._key(upload_id), _lease_id(owner)))

    def request(self, upload_id: str, /) -> None:
        key, since = self._wishes.get(upload_id, ("", 0.0))
        if key and now() - since < self._poll_interval:
            return
        stored = self._call(lambda: self._leases.get(self._key(upload_id)))
        owner = _owner(stored.body) if stored is not None and stored.leased else ""
        if owner:
            key = self._wish_key(owner)
            self._call(lambda: self._container.put_if_absent(key, b"{}"))
            self._wishes[upload_id] = key, now()

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        time.sleep(self._poll_interval)
        owners = held()
        if not owners:
            return []
        keys = self._call(lambda: list(self._container.list(self._wish_key(process))))
        if keys:
            self._call(lambda: self._container.delete(keys))
        return [owner for key in keys if (owner := key.rpartition("/")[2]) in owners]

    def forget(self) -> None:
        self._wishes: dict[str, tuple[str, float]] = {}
        self._pool = Pool()

    def _take(self, key: str, lease_id: str, seconds: int) -> None:
        try:
            self._leases.acquire(key, lease_id, seconds)
        except Missing:
            self._container.put_if_absent(key, b"{}")
            self._leases.acquire(key, lease_id, seconds)

    def _sign(self, key: str, owner: str) -> int:
        """Write down who has the lease now; the token."""
        stored = self._leases.get(key)
        # The clock is but the floor of a new counter: it makes up for one that a lifecycle rule removed.
        token = (_token(stored.body) if stored is not None else 0) + 1
        token = token if token > 1 else int(time.time() * 1000)
        self._leases.put(key, json.dumps({"owner": owner, "token": token}).encode(), _lease_id(owner))
        return token

    def _renew(self, upload_id: str, owner: str) -> bool:
        try:
            self._call(lambda: self._leases.renew(self._key(upload_id), _lease_id(owner)))
        except (Missing, Refused):
            return False
        return True

    def _withdraw(self, upload_id: str) -> None:
        """Remove the wish that nobody answered."""
        key, _ = self._wishes.pop(upload_id, ("", 0.0))
        if key:
            self._call(lambda: self._container.delete([key]))

    def _key(self, upload_id: str) -> str:
        # Azure takes no dot at the end of a name.
        return f"{self._prefix}{lock_name(upload_id)}.lock"

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


def _lease_id(owner: str) -> str:
    """Azure wants a UUID."""
    return str(uuid5(NAMESPACE_OID, owner))


def _owner(body: bytes) -> str:
    return str(json.loads(body).get("owner", ""))


def _token(body: bytes) -> int:
    return int(json.loads(body).get("token", 0))
