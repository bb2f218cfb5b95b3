"""Flags that say where uploads lie and how requests for one exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import click

from tuspy_server.cli.flags import flag
from tuspy_server.cli.values import DURATION, LOCKER, MODE, PATH, SIZE

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    heading: ClassVar[str] = "File storage"

    upload_dir: str = flag("./data", "Directory of the uploads; made if missing.", kind=PATH)
    durability: Literal["none", "finish", "always"] = flag(
        "finish",
        "What survives a power loss: nothing for sure, finished uploads, or every byte a client was told of.",
        kind=click.Choice(["none", "finish", "always"]),
    )
    min_free: int = flag(0, "Space to leave free in the file system, as 1GiB.", kind=SIZE)
    dir_perms: int = flag(0o775, "Permissions of directories, octal, subject to the umask.", kind=MODE)
    file_perms: int = flag(0o664, "Permissions of files, octal, subject to the umask.", kind=MODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    heading: ClassVar[str] = "AWS S3 and compatible storage"

    s3_bucket: str = flag("", "Store in this bucket; credentials and region as boto3 finds them.", metavar="NAME")
    s3_object_prefix: str = flag("", "Put before the name of every object.", metavar="TEXT")
    s3_endpoint: str = flag("", "URL of the service, if it is not AWS.", metavar="URL")
    s3_part_size: int = flag(8 * MIB, "Preferred size of a part.", kind=SIZE)
    s3_min_part_size: int = flag(5 * MIB, "Smallest part the service takes.", kind=SIZE)
    s3_concurrent_part_uploads: int = flag(10, "Parts sent at once by a process.", kind=click.IntRange(1, 1000))
    s3_transfer_acceleration: bool = flag(False, "Use the bucket's accelerated endpoint.")
    s3_redirect_downloads: float = flag(
        0.0, "Answer downloads with a presigned URL that is good for this time, as 15m; 0 sends the bytes.",
        kind=DURATION,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Gcs:
    heading: ClassVar[str] = "Google Cloud Storage"

    gcs_bucket: str = flag(
        "", "Store in this bucket; credentials by GCS_SERVICE_ACCOUNT_FILE or as Google's library finds them.",
        metavar="NAME",
    )  # fmt: skip
    gcs_object_prefix: str = flag("", "Put before the name of every object.", metavar="TEXT")
    gcs_redirect_downloads: float = flag(
        0.0, "Answer downloads with a signed URL that is good for this time, as 15m; 0 sends the bytes. Needs a "
        "service account's key.",
        kind=DURATION,
    )  # fmt: skip
    gcs_endpoint: str = flag("", "URL of the service, if it is not Google's.", metavar="URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Azure:
    heading: ClassVar[str] = "Azure Blob Storage"

    azure_storage: str = flag(
        "", "Store in this container of the account AZURE_STORAGE_ACCOUNT; credentials by AZURE_STORAGE_KEY or as "
        "Azure's library finds them.",
        metavar="NAME",
    )  # fmt: skip
    azure_container_access_type: Literal["", "private", "blob", "container"] = flag(
        "", "Make the container at the start if it is not there, and let the public read nothing, its blobs, or blobs "
        "and their list. Without this it must be there.",
        kind=click.Choice(["", "private", "blob", "container"]),
    )  # fmt: skip
    azure_blob_access_tier: Literal["", "hot", "cool", "cold", "archive"] = flag(
        "", "Access tier of finished uploads.", kind=click.Choice(["", "hot", "cool", "cold", "archive"])
    )
    azure_redirect_downloads: float = flag(
        0.0, "Answer downloads with a URL of the blob that is good for this time, as 15m; 0 sends the bytes. Needs the "
        "account's key.",
        kind=DURATION,
    )  # fmt: skip
    azure_object_prefix: str = flag("", "Put before the name of every blob.", metavar="TEXT")
    azure_endpoint: str = flag("", "URL of the account, if it is not the public cloud's.", metavar="URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    heading: ClassVar[str] = "Space"

    store_size: int = flag(0, "Space that all uploads may take together, as 500GiB; 0 is no limit.", kind=SIZE)
    store_size_file: str = flag(
        "", "File in which the uploads of this host are counted for it, on a local disk. A bucket needs one named; for "
        "a directory it is .space/shares in there.",
        kind=PATH,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    heading: ClassVar[str] = "Locks"

    locker: str = flag(
        "auto",
        "How requests for one upload exclude each other. auto: by the storage itself; memory: for one process; or a "
        "service that several hosts share, as redis://HOST, etcd://HOST, consul://HOST, postgresql://HOST/DATABASE, "
        "dynamodb://TABLE.",
        kind=LOCKER,
    )
    lock_lease: float = flag(
        15.0,
        "How long an upload stays locked after its server died, and goes on at most while the service that keeps the "
        "locks is out of reach. Not for files and memory.",
        kind=DURATION,
    )
