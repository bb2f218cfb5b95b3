"""From settings to a store and a locker. SDKs are imported for the storage that was chosen, and no other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from tuspy_server.cli.errors import SettingsError, extra
from tuspy_server.cli.settings import Settings
from tuspy_server.cli.storage_settings import Locks
from tuspy_server.composer import AUTO, Auto, Composer, default_locker
from tuspy_server.errors import LockerUnavailable
from tuspy_server.interfaces import DataStore, Locker
from tuspy_server.lockers.memory import MemoryLocker
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.limited import LimitedStore
from tuspy_server.stores.limited_shares import FileShares
from tuspy_server.stores.paths import SPACE

if TYPE_CHECKING:
    from tuspy_server.stores.azure import AzureStore

log = logging.getLogger("tuspy_server.server")


def check_storage(settings: Settings) -> None:
    """Raise SettingsError where flags cannot go together."""
    if settings.listening.workers > 1 and settings.locks.locker == "memory":
        raise SettingsError("--locker memory sees one process only: choose another, or --workers 1")
    if settings.locks.lock_lease < 1:
        raise SettingsError("--lock-lease must be at least 1s")
    if settings.azure.azure_storage and settings.locks.locker == "auto" and not 15 <= settings.locks.lock_lease <= 60:
        raise SettingsError("--lock-lease: Azure grants 15s to 60s")
    names = {"--s3-bucket": settings.s3.s3_bucket, "--gcs-bucket": settings.gcs.gcs_bucket}
    names["--azure-storage"] = settings.azure.azure_storage
    chosen = [name for name, value in names.items() if value]
    if len(chosen) > 1:
        raise SettingsError(f"{' and '.join(chosen)} exclude each other")
    if settings.space.store_size and chosen and not settings.space.store_size_file:
        raise SettingsError(f"--store-size with {chosen[0]} needs --store-size-file")


def make_composer(settings: Settings) -> Composer:
    """The chosen store with the chosen locker. Raises SettingsError, StoreError or OSError with a sentence."""
    store = _make_store(settings)
    locker = _make_locker(settings.locks, store)
    composer = Composer(_limited(store, settings), locker=locker)
    composer.claim()
    return composer


def prepare(store: DataStore, settings: Settings) -> None:
    """What serving needs before its first request, once for all workers. Raises StoreError with a sentence."""
    access = settings.azure.azure_container_access_type
    if settings.azure.azure_storage and access:
        inner = store.store if isinstance(store, LimitedStore) else store
        cast("AzureStore", inner).container.make(None if access == "private" else access)
    if isinstance(store, LimitedStore):
        # Records in files are read quickly, and some may be of a time without a cap; those of a bucket cost requests.
        new = store.count(again=not _bucket(settings))
        fields = {"limit": store.limit, "used": store.shares.used(), "newly_counted": new}
        log.info("space is limited", extra={"fields": fields})


def check_locker(locker: Locker) -> None:
    """Refuse one that would keep nobody out, as far as that can be seen now. Raises StoreFailed with a sentence."""
    check: Callable[[], None] | None = getattr(locker, "check", None)
    if check is not None:
        with suppress(LockerUnavailable):  # the first lock finds out
            check()


def place(settings: Settings) -> str:
    """Where uploads are stored, for people."""
    if settings.s3.s3_bucket:
        return f"s3://{settings.s3.s3_bucket}/{settings.s3.s3_object_prefix}"
    if settings.gcs.gcs_bucket:
        return f"gs://{settings.gcs.gcs_bucket}/{settings.gcs.gcs_object_prefix}"
    if settings.azure.azure_storage:
        return f"azure://{settings.azure.azure_storage}/{settings.azure.azure_object_prefix}"
    return settings.files.upload_dir


def _bucket(settings: Settings) -> str:
    return settings.s3.s3_bucket or settings.gcs.gcs_bucket or settings.azure.azure_storage


def _limited(store: DataStore, settings: Settings) -> DataStore:
    wanted = settings.space
    if not wanted.store_size:
        return store
    path = wanted.store_size_file or os.path.join(settings.files.upload_dir, SPACE, "shares")
    return LimitedStore(store, wanted.store_size, shares=FileShares(path))


def _make_store(settings: Settings) -> DataStore:
    if settings.s3.s3_bucket:
        return _s3(settings)
    if settings.gcs.gcs_bucket:
        return _gcs(settings)
    if settings.azure.azure_storage:
        return _azure(settings)
    files = settings.files
    try:
        return FileStore(
            files.upload_dir,
            durability=files.durability,
            file_mode=files.file_perms,
            dir_mode=files.dir_perms,
            min_free=files.min_free,
        )
    except OSError as exc:
        raise OSError(f"cannot store in {files.upload_dir}: {exc.strerror or exc}") from exc


def _s3(settings: Settings) -> DataStore:
    wanted = settings.s3
    with extra("--s3-bucket", "s3"):
        from tuspy_server.stores.s3 import S3Store
        from tuspy_server.stores.s3_parts import PartLimits

        return S3Store(
            wanted.s3_bucket,
            prefix=wanted.s3_object_prefix,
            limits=PartLimits(part_size=wanted.s3_part_size, min_part_size=wanted.s3_min_part_size),
            concurrency=wanted.s3_concurrent_part_uploads,
            endpoint_url=wanted.s3_endpoint or None,
            addressing="path" if wanted.s3_endpoint else "auto",
            accelerate=wanted.s3_transfer_acceleration,
            redirect_downloads=wanted.s3_redirect_downloads,
        )


def _gcs(settings: Settings) -> DataStore:
    wanted = settings.gcs
    with extra("--gcs-bucket", "gcs"):
        from tuspy_server.stores.gcs import GCSStore

        return GCSStore(
            wanted.gcs_bucket,
            prefix=wanted.gcs_object_prefix,
            endpoint=wanted.gcs_endpoint or None,
            redirect_downloads=wanted.gcs_redirect_downloads,
        )


def _azure(settings: Settings) -> DataStore:
    wanted = settings.azure
    with extra("--azure-storage", "azure"):
        from tuspy_server.stores.azure import AzureStore

        return AzureStore(
            wanted.azure_storage,
            prefix=wanted.azure_object_prefix,
            endpoint=wanted.azure_endpoint or None,
            tier=wanted.azure_blob_access_tier or None,
            redirect_downloads=wanted.azure_redirect_downloads,
        )


def _make_locker(locks: Locks, store: DataStore) -> Locker | Auto:
    wanted = locks.locker
    if wanted == "memory":
        return MemoryLocker()
    if wanted != "auto":
        service = wanted.partition("://")[0]
        with extra(f"--locker {service}", _EXTRAS.get(service, "server")):
            return _service_locker(service, wanted, locks.lock_lease)
    if isinstance(store, FileStore):
        return AUTO
    return default_locker(store, lease=locks.lock_lease)


_EXTRAS = {
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "postgresql": "postgres",
    "postgres": "postgres",
    "dynamodb": "dynamodb",
}


def _service_locker(service: str, url: str, lease: float) -> Locker:
    """A locker by its URL; libraries of redis and postgres take theirs as it is, the others are HTTP services."""
    if service in ("redis", "rediss", "unix"):
        from tuspy_server.lockers.redis import RedisLocker

        return RedisLocker(url, lease=lease)
    if service in ("postgresql", "postgres"):
        from tuspy_server.lockers.postgres import PostgresLocker

        return PostgresLocker(url, lease=lease)
    parts = urlsplit(url)
    if service == "dynamodb":
        from tuspy_server.lockers.dynamodb import DynamoDBLocker

        return DynamoDBLocker(parts.netloc, lease=lease)
    if service == "etcd":
        from tuspy_server.lockers.etcd import EtcdLocker

        return EtcdLocker([f"http://{member}" for member in _members(parts.netloc, 2379)], lease=lease)
    from tuspy_server.lockers.consul import ConsulLocker

    return ConsulLocker([f"http://{member}" for member in _members(parts.netloc, 8500)], lease=lease)


def _members(hosts: str, port: int) -> list[str]:
    """HOST or HOST:PORT, several separated by commas."""
    return [host if ":" in host else f"{host}:{port}" for host in hosts.split(",")]
