"""An Azure Blob container: client, credentials, error map, conditional blobs; shared by the store and its locker."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeVar

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContentSettings,
    ExponentialRetry,
    StandardBlobTier,
    generate_blob_sas,
)

from tuspy_server.errors import StoreError, StoreFailed, StoreUnavailable

T = TypeVar("T")

Access = Literal["blob", "container"]
Tier = Literal["hot", "cool", "cold", "archive"]

#: Put Block List takes this many; Put Block at most this many bytes.
BLOCK_LIMIT: Final = 50_000
BLOCK_SIZE_LIMIT: Final = 4000 * 1024 * 1024

_MISSING: Final = {"BlobNotFound", "InvalidBlockList", "InvalidRange"}
_REFUSED: Final = {"BlobAlreadyExists", "ContainerAlreadyExists"}
_PASSING: Final = {408, 429, 500, 502, 503, 504}
_TRANSPORT: Final = (ServiceRequestError, ServiceResponseError, IncompleteReadError, OSError)
_NOTHING: Final[Mapping[str, str]] = {}


class Missing(Exception):
    """The service itself says that the blob is not there."""


class Refused(Exception):
    """A precondition did not hold."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A small blob as read: its bytes, and the ETag that a conditional write names."""

    body: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Found:
    """A blob as listed. Sizes in bytes."""

    name: str
    size: int
    version: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What a blob is served with, and its tier. None leaves a thing to the service."""

    content_type: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    tier: Tier | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        settings = ContentSettings(
            content_type=self.content_type or "application/octet-stream",
            content_disposition=self.content_disposition,
            cache_control=self.cache_control,
        )
        tier = StandardBlobTier(self.tier.capitalize()) if self.tier else None
        return {"content_settings": settings, "metadata": dict(self.metadata), "standard_blob_tier": tier}


class Container:
    """One container. Every call raises StoreError, Missing or Refused.

    `client` is a ready BlobServiceClient, or None to make one; see `connect`. `timeout` is seconds without a byte
    from the service, `retries` how often the SDK repeats what failed.
    """

    def __init__(
        self,
        name: str,
        *,
        client: BlobServiceClient | None = None,
        account: str | None = None,
        endpoint: str | None = None,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        self.name = name
        self._given = client
        self._account = account
        self._endpoint = endpoint
        self._connect = partial(connect, account, endpoint, timeout=timeout, retries=retries)
        self._making = threading.Lock()
        self._made: tuple[int, BlobServiceClient] | None = None

    @property
    def client(self) -> BlobServiceClient:
        """The BlobServiceClient of this process; a forked worker makes its own."""
        if self._given is not None:
            return self._given
        with self._making:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), self._connect())
            return self._made[1]

    def hasty(self, timeout: float) -> Container:
        """The same container through connections that give up after `timeout` seconds and one repeat.

        With a ready `client` it is this one, and what that client does.
        """
        if self._given is not None:
            return self
        return Container(self.name, account=self._account, endpoint=self._endpoint, timeout=timeout, retries=1)

    def make(self, access: Access | None = None) -> None:
        """Create the container unless it is there; `access` is what the public may read, None for nothing."""
        container = self.client.get_container_client(self.name)
        with suppress(Refused):
            self.guard("create container", partial(container.create_container, public_access=access))

    def get(self, key: str) -> Stored | None:
        """The whole of a small blob, or None if there is none."""
        try:
            return self.guard("get", lambda: self._download(key))
        except Missing:
            return None

    def read(self, key: str, start: int, stop: int, version: str) -> bytes | None:
        """Bytes `start` up to, not including, `stop` of the blob while it is `version`, else None."""
        blob = self._blob(key)
        condition = _if(version)
        try:
            body: bytes = self.guard("read", lambda: blob.download_blob(start, stop - start, **condition).readall())
        except (Missing, Refused):
            return None
        return body

    def head(self, key: str) -> Found | None:
        """Size, ETag and metadata of a blob, or None if there is no committed one."""
        try:
            return _found(self.guard("head", self._blob(key).get_blob_properties))
        except Missing:
            return None

    def put_if_absent(self, key: str, body: bytes, *, metadata: Mapping[str, str] = _NOTHING) -> str | None:
        """Store a blob where there is none; return its ETag, or None if one is there.

        `body` should be unique to this writer: it tells a repeated request that its first try had succeeded.
        """
        return self._put_if(key, body, None, metadata)

    def put_if_match(
        self, key: str, body: bytes, version: str, *, metadata: Mapping[str, str] = _NOTHING
    ) -> str | None:
        """Replace the blob while it still is `version`; return the new ETag, or None if it is not."""
        return self._put_if(key, body, version, metadata)

    def put(self, key: str, body: bytes, version: str | None, headers: Headers) -> str:
        """Store a blob in place of `version`, None for none; return the ETag. Raises Refused if another is there."""
        arguments = {**headers.arguments(), **_if(version)}
        blob = self._blob(key)
        done = self.guard("put", lambda: blob.upload_blob(body, overwrite=True, **arguments))
        return str(done["etag"])

    def stage(self, key: str, block: str, data: bytes) -> None:
        """Store an uncommitted block. All blocks of a blob have names of one length; none is empty."""
        blob = self._blob(key)
        self.guard("stage block", lambda: blob.stage_block(block, data, len(data)))

    def blocks(self, key: str) -> dict[str, int]:
        """Names and sizes of the committed and uncommitted blocks of a blob."""
        blob = self._blob(key)
        try:
            committed, uncommitted = self.guard("get block list", lambda: blob.get_block_list("all"))
        except Missing:
            return {}
        return {block.id: block.size for block in [*committed, *uncommitted]}

    def commit(self, key: str, blocks: Sequence[str], version: str | None, headers: Headers) -> str:
        """Make the blob consist of `blocks` in place of `version`, None for none; return the ETag.

        Every other uncommitted block is gone afterwards. Raises Missing if a block is not there, Refused if
        another version is.
        """
        arguments = {**headers.arguments(), **_if(version)}
        blob, names = self._blob(key), [BlobBlock(block) for block in blocks]
        done = self.guard("commit", lambda: blob.commit_block_list(names, **arguments))
        return str(done["etag"])

    def delete_if_match(self, key: str, version: str) -> bool:
        """Delete the blob while it still is `version`, with its snapshots; whether it is gone now."""
        blob, condition = self._blob(key), _if(version)
        try:
            self.guard("delete", lambda: blob.delete_blob("include", **condition))
        except Missing:
            return True
        except Refused:
            return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Delete committed blobs with their snapshots; one that is not there is no error."""
        for blob in map(self._blob, keys):
            with suppress(Missing):
                self.guard("delete", partial(blob.delete_blob, "include"))

    def list(self, prefix: str) -> Iterator[str]:
        """Names of committed blobs that begin with `prefix`, fetched page by page."""
        return (found.name for found in self.find(prefix))

    def find(self, prefix: str) -> Iterator[Found]:
        """Committed blobs whose name begins with `prefix`, fetched page by page."""
        return (_found(blob) for blob in self._listed(prefix, "metadata"))

    def drop_versions(self, prefix: str, wanted: Callable[[Found], bool]) -> None:
        """Delete those earlier versions of blobs below `prefix` that are `wanted`, in a versioned container."""
        for old in self._listed(prefix, "versions", "metadata"):
            if old.version_id and not old.is_current_version and wanted(_found(old)):
                blob = self.client.get_blob_client(self.name, old.name, version_id=old.version_id)
                with suppress(Missing):
                    self.guard("delete version", blob.delete_blob)

    def is_versioned(self, key: str) -> bool:
        """Whether the container keeps earlier versions; True also if there is no blob at `key` to tell it by."""
        try:
            properties = self.guard("head", self._blob(key).get_blob_properties)
        except Missing:
            return True
        return bool(properties.version_id)

    @property
    def signs(self) -> bool:
        """Whether the credentials are an account's key, which can sign without asking anybody."""
        return bool(getattr(self.client.credential, "account_key", None))

    def presigned(self, key: str, seconds: int, headers: Mapping[str, str]) -> str:
        """A URL from which anybody may read a blob for `seconds`, served with these fields. Where `signs` only."""
        credential: Any = self.client.credential
        token = generate_blob_sas(
            credential.account_name,
            self.name,
            key,
            account_key=credential.account_key,
            permission="r",
            expiry=datetime.now(UTC) + timedelta(seconds=seconds),
            content_type=headers["Content-Type"],
            content_disposition=headers["Content-Disposition"],
            cache_control=headers["Cache-Control"],
        )
        return f"{self._blob(key).url}?{token}"

    def guard(self, operation: str, call: Callable[[], T]) -> T:
        """Carry out a call of the SDK; what it raises comes out as StoreError, Missing or Refused."""
        try:
            return call()
        except (AzureError, OSError) as exc:
            raise translate(exc, operation) from exc

    def _listed(self, prefix: str, *include: str) -> Iterator[Any]:
        container = self.client.get_container_client(self.name)
        pages = container.list_blobs(name_starts_with=prefix, include=[*include]).by_page()
        while True:
            page = self.guard("list", lambda: next(pages, None))
            if page is None:
                return
            yield from page

    def _put_if(self, key: str, body: bytes, version: str | None, metadata: Mapping[str, str]) -> str | None:
        headers = Headers(content_type="application/json", cache_control="no-store", metadata=metadata)
        try:
            return self.put(key, body, version, headers)
        except (Missing, Refused):
            stored = self.get(key)
            return stored.version if stored is not None and stored.body == body else None

    def _download(self, key: str) -> Stored:
        stream = self._blob(key).download_blob()
        return Stored(stream.readall(), str(stream.properties.etag))

    def _blob(self, key: str) -> Any:
        return self.client.get_blob_client(self.name, key)


def connect(
    account: str | None = None, endpoint: str | None = None, *, timeout: float = 60.0, retries: int = 4
) -> BlobServiceClient:
    """A BlobServiceClient with the usual credentials.

    AZURE_STORAGE_CONNECTION_STRING if no account is named; else the account, or AZURE_STORAGE_ACCOUNT, with
    AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; else azure-identity's DefaultAzureCredential, if that package is
    installed. `endpoint` is the account's URL where it is not the public cloud's. Raises ValueError with a sentence.
    """
    backoff = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=retries, random_jitter_range=1)
    options: dict[str, Any] = {
        "retry_policy": backoff,
        "connection_timeout": min(timeout, 10.0),
        "read_timeout": timeout,
        "max_single_put_size": BLOCK_SIZE_LIMIT,
    }
    connection_string = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    account = account or os.environ.get("AZURE_STORAGE_ACCOUNT")
    if connection_string and not account:
        return BlobServiceClient.from_connection_string(connection_string, **options)
    if not account and not endpoint:
        raise ValueError("name an Azure storage account, or set AZURE_STORAGE_ACCOUNT")
    url = endpoint or f"https://{account}.blob.core.windows.net"
    return BlobServiceClient(url, credential=_credential(account), **options)


def _credential(account: str | None) -> Any:
    key = os.environ.get("AZURE_STORAGE_KEY")
    if key and account:
        return {"account_name": account, "account_key": key}
    token = os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    if token:
        return token
    try:
        from azure.identity import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            DefaultAzureCredential,
        )
    except ImportError as exc:
        raise ValueError("set AZURE_STORAGE_KEY, or install azure-identity to use a managed identity") from exc
    return DefaultAzureCredential()


def translate(exc: Exception, operation: str) -> StoreError | Missing | Refused:
    """The error that a caller sees for what the SDK raised once it gave up. Names the operation, never a blob."""
    what = f"Azure {operation}: {type(exc).__name__}"
    if isinstance(exc, _TRANSPORT):
        return StoreUnavailable(what)
    if not isinstance(exc, HttpResponseError) or isinstance(exc, ClientAuthenticationError):
        return StoreFailed(what)
    code, status = _code(exc), exc.status_code
    if code in _MISSING:
        return Missing(what)
    if status == 412 or code in _REFUSED or code.startswith("Lease"):
        return Refused(what)
    # A 404 without the service's own code comes from a proxy or a wrong endpoint, and proves nothing.
    if status in _PASSING or status is None or (status == 404 and not code):
        return StoreUnavailable(what)
    return StoreFailed(f"{what} {code}".rstrip())


def _code(exc: HttpResponseError) -> str:
    """The service's own code: a string or, where the SDK knows it, a member of its enumeration."""
    code = getattr(exc, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _if(version: str | None) -> dict[str, Any]:
    """The condition that the blob is `version`, or that there is none."""
    if version is None:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": version, "match_condition": MatchConditions.IfNotModified}


def _found(blob: Any) -> Found:
    # Listings give ETags without the quotes that conditions need.
    etag = str(blob.etag).strip('"')
    return Found(blob.name, int(blob.size), f'"{etag}"', dict(blob.metadata or {}))
