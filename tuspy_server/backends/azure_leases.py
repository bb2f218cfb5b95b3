"""Leases on blobs: the service's own locks, which end by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from azure.storage.blob import BlobClient, BlobLeaseClient

from tuspy_server.backends.azure import Container, Headers, Missing

T = TypeVar("T")

#: What Azure grants, in seconds.
SHORTEST: Final = 15
LONGEST: Final = 60


@dataclass(frozen=True, slots=True)
class Leased:
    """A blob as read, and whether somebody has a lease of it."""

    body: bytes
    leased: bool


class Leases:
    """Leases of the blobs of one container, each named by a UUID that its holder chose.

    Every call raises StoreError; Missing where there is no such blob, Refused where the lease is another's.
    """

    def __init__(self, container: Container) -> None:
        self._container = container

    def acquire(self, key: str, lease_id: str, seconds: int) -> None:
        """Take the lease for SHORTEST to LONGEST seconds, also if `lease_id` has it already."""
        self._call("acquire lease", lambda: self._lease(key, lease_id).acquire(lease_duration=seconds))

    def renew(self, key: str, lease_id: str) -> None:
        """Begin the seconds anew, also after they were over, as long as nobody else took the lease since."""
        self._call("renew lease", lambda: self._lease(key, lease_id).renew())

    def release(self, key: str, lease_id: str) -> None:
        self._call("release lease", lambda: self._lease(key, lease_id).release())

    def get(self, key: str) -> Leased | None:
        """The blob, or None if there is none."""
        try:
            return self._call("get", lambda: self._download(key))
        except Missing:
            return None

    def put(self, key: str, body: bytes, lease_id: str) -> None:
        """Replace the blob as the holder of its lease."""
        settings = Headers(content_type="application/json").arguments()
        blob = self._blob(key)
        lease = self._lease(key, lease_id)
        self._call("put", lambda: blob.upload_blob(body, overwrite=True, lease=lease, **settings))

    def _download(self, key: str) -> Leased:
        stream = self._blob(key).download_blob()
        return Leased(stream.readall(), stream.properties.lease.state == "leased")

    def _lease(self, key: str, lease_id: str) -> BlobLeaseClient:
        return BlobLeaseClient(self._blob(key), lease_id)

    def _blob(self, key: str) -> BlobClient:
        return self._container.client.get_blob_client(self._container.name, key)

    def _call(self, operation: str, call: Callable[[], T]) -> T:
        return self._container.guard(operation, call)
