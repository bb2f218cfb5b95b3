"""A Google Cloud Storage bucket: client, credentials, error map, conditional objects; for the store and its locker."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import requests
from google.api_core.exceptions import (
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
    RetryError,
)
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped, unused-ignore]
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # type: ignore[import-untyped, unused-ignore]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped, unused-ignore]

from tuspy_server.errors import StoreError, StoreFailed, StoreUnavailable

T = TypeVar("T")

CREDENTIALS_FILE: Final = "GCS_SERVICE_ACCOUNT_FILE"
#: What one compose request takes at most.
COMPOSE_LIMIT: Final = 32

_PASSING: Final = {408, 429, 500, 502, 503, 504}
_TRANSPORT: Final = (requests.RequestException, auth.TransportError, DataCorruption, RetryError, OSError)
_DOWNLOAD_TRIES: Final = 3
_NOTHING: Final[Mapping[str, str]] = {}


class Missing(Exception):
    """The service itself says that the object is not there."""


class Refused(Exception):
    """A precondition did not hold."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A small object as read: its bytes, and the generation that a conditional write names."""

    body: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Found:
    """An object as listed. Sizes in bytes."""

    name: str
    size: int
    version: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What an object is served with. None leaves a thing to the service."""

    content_type: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def put_on(self, blob: Any) -> None:
        for name in ("content_type", "content_disposition", "cache_control", "storage_class"):
            value = getattr(self, name)
            if value is not None:
                setattr(blob, name, value)
        if self.metadata:
            blob.metadata = dict(self.metadata)


class Bucket:
    """One bucket. Every call raises StoreError, Missing or Refused.

    Credentials: those of `client` if given, a ready storage.Client; else the service account in the file that
    GCS_SERVICE_ACCOUNT_FILE names; else none for an `endpoint` without TLS, an emulator; else Application Default
    Credentials. `timeout` is seconds for a request to begin answering, `retry_period` seconds during which the SDK
    repeats what failed (0: never).
    """

    def __init__(
        self,
        name: str,
        *,
        client: Any = None,
        endpoint: str | None = None,
        timeout: float = 60.0,
        retry_period: float = 30.0,
    ) -> None:
        self.name = name
        self._given = client
        self._endpoint = endpoint
        self._timeout = timeout
        self._retry = DEFAULT_RETRY.with_timeout(retry_period) if retry_period else None
        self._making = threading.Lock()
        self._made: tuple[int, Any] | None = None

    @property
    def client(self) -> Any:
        """The storage.Client of this process; a forked worker makes its own."""
        if self._given is not None:
            return self._given
        with self._making:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), connect(self._endpoint))
            return self._made[1]

    def get(self, key: str) -> Stored | None:
        """The whole of a small object, or None if there is none."""
        found = self._download(key)
        return None if found is None else Stored(found[0], str(found[1].generation))

    def read(self, key: str, start: int, stop: int, version: str) -> bytes | None:
        """Bytes `start` up to, not including, `stop` of the object while it is `version`, else None."""
        try:
            found = self._download(key, start=start, end=stop - 1, if_generation_match=int(version))
        except Refused:
            return None
        return None if found is None else found[0]

    def head(self, key: str) -> Found | None:
        """Size, generation and metadata of an object, or None if there is none."""
        blob = self._blob(key)
        try:
            self._call("head", blob.reload)
        except Missing:
            return None
        return _found(blob)

    def put_if_absent(self, key: str, body: bytes, *, metadata: Mapping[str, str] = _NOTHING) -> str | None:
        """Store an object where there is none; return its generation, or None if one is there.

        `body` should be unique to this writer: it tells a repeated request that its first try had succeeded.
        """
        return self._put_if(key, body, "0", metadata)

    def put_if_match(
        self, key: str, body: bytes, version: str, *, metadata: Mapping[str, str] = _NOTHING
    ) -> str | None:
        """Replace the object while it still is `version`; return the new generation, or None if it is not."""
        return self._put_if(key, body, version, metadata)

    def put(self, key: str, body: bytes, version: str, headers: Headers) -> Found:
        """Store an object in place of `version`, "0" for none. Raises Refused if that is not what is there."""
        blob = self._blob(key)
        headers.put_on(blob)
        self._call(
            "put",
            blob.upload_from_string,
            body,
            content_type=headers.content_type or "application/octet-stream",
            if_generation_match=int(version),
            checksum="crc32c",
        )
        return _found(blob)

    def compose(self, sources: Sequence[str], key: str, version: str, headers: Headers) -> Found:
        """Join at most COMPOSE_LIMIT objects into `key` in place of `version`, "0" for none.

        Raises Missing if a source is gone, Refused if another version is there.
        """
        blob = self._blob(key)
        headers.put_on(blob)
        blob.content_type = blob.content_type or "application/octet-stream"
        self._call("compose", blob.compose, [self._blob(name) for name in sources], if_generation_match=int(version))
        return _found(blob)

    def delete_if_match(self, key: str, version: str) -> bool:
        """Delete the object while it still is `version`; whether it is gone now."""
        try:
            self._call("delete", self._blob(key).delete, if_generation_match=int(version))
        except Missing:
            return True
        except Refused:
            return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for key in keys:
            try:
                self._call("delete", self._blob(key).delete)
            except Missing:
                continue

    def list(self, prefix: str) -> Iterator[str]:
        """Names that begin with `prefix`, in order of their bytes, fetched page by page."""
        return (found.name for found in self.find(prefix))

    def find(self, prefix: str) -> Iterator[Found]:
        """Objects whose name begins with `prefix`, in order of their bytes, fetched page by page."""
        pages = self.client.list_blobs(self.name, prefix=prefix, timeout=self._timeout, retry=self._retry).pages
        while True:
            try:
                page = self._guard("list", lambda: next(pages, None))
            except Missing as exc:
                raise StoreFailed("GCS list: the bucket does not exist") from exc
            if page is None:
                return
            yield from (_found(blob) for blob in page)

    @property
    def signs(self) -> bool:
        """Whether the credentials can sign: they have a service account's key, or ask for signatures."""
        try:
            self._sign("x", 1, {})
        except (AttributeError, auth.GoogleAuthError):  # the SDK's way to say that there is no key
            return False
        return True

    def presigned(self, key: str, seconds: int, headers: Mapping[str, str]) -> str:
        """A URL from which anybody may read an object for `seconds`, served with these fields. Where `signs` only."""
        return self._guard("sign", lambda: self._sign(key, seconds, headers))

    def _sign(self, key: str, seconds: int, headers: Mapping[str, str]) -> str:
        cache_control = headers.get("Cache-Control")
        url: str = self._blob(key).generate_signed_url(
            version="v4",
            expiration=seconds,
            response_type=headers.get("Content-Type"),
            response_disposition=headers.get("Content-Disposition"),
            query_parameters={"response-cache-control": cache_control} if cache_control else None,
        )
        return url

    def _put_if(self, key: str, body: bytes, version: str, metadata: Mapping[str, str]) -> str | None:
        headers = Headers(content_type="application/json", cache_control="no-store", metadata=metadata)
        try:
            return self.put(key, body, version, headers).version
        except Refused:
            stored = self.get(key)
            return stored.version if stored is not None and stored.body == body else None

    def _download(self, key: str, **conditions: int) -> tuple[bytes, Any] | None:
        """Bytes and their blob. A download's 404 has no words that tell the service's from a proxy's: ask for the
        metadata, and once more for an object that has come meanwhile."""
        for _ in range(_DOWNLOAD_TRIES):
            blob = self._blob(key)
            try:
                return self._call("download", blob.download_as_bytes, **conditions), blob
            except Missing:
                if self.head(key) is None:
                    return None
        raise StoreUnavailable("GCS denies an object that is there")

    def _blob(self, key: str) -> Any:
        return self.client.bucket(self.name).blob(key)

    def _call(self, operation: str, call: Callable[..., T], *args: object, **kwargs: object) -> T:
        return self._guard(operation, lambda: call(*args, timeout=self._timeout, retry=self._retry, **kwargs))

    def _guard(self, operation: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as exc:
            raise translate(exc, operation) from exc


def connect(endpoint: str | None) -> Any:
    """A storage.Client; see Bucket for where its credentials come from."""
    options = {"api_endpoint": endpoint} if endpoint else None
    path = os.environ.get(CREDENTIALS_FILE)
    if path:
        return storage.Client.from_service_account_json(path, client_options=options)
    # A token that was meant for Google never goes out in plain text.
    anonymous: Any = AnonymousCredentials
    credentials = anonymous() if endpoint and endpoint.startswith("http:") else None
    return storage.Client(project=None, credentials=credentials, client_options=options)


def translate(exc: Exception, operation: str) -> StoreError | Missing | Refused:
    """The error that a caller sees for what the SDK raised once it gave up. Names the operation, never an object."""
    what = f"GCS {operation}: {type(exc).__name__}"
    if isinstance(exc, PreconditionFailed):
        return Refused(what)
    if isinstance(exc, NotFound):
        return _absence(exc, operation, what)
    if isinstance(exc, RequestRangeNotSatisfiable):
        return Missing(what)
    code = exc.code if isinstance(exc, GoogleAPICallError) else None
    if isinstance(exc, InvalidResponse):
        code = exc.response.status_code
    if isinstance(exc, _TRANSPORT) or code in _PASSING:
        return StoreUnavailable(what)
    return StoreFailed(what)


def _absence(exc: NotFound, operation: str, what: str) -> StoreError | Missing:
    """A 404 without the service's own words comes from a proxy or a wrong endpoint, and proves nothing."""
    if "bucket does not exist" in str(exc):
        return StoreFailed(f"{what}: the bucket does not exist")
    if exc.errors or operation == "download":
        return Missing(what)
    return StoreUnavailable(what)


def _found(blob: Any) -> Found:
    return Found(blob.name, int(blob.size), str(blob.generation), dict(blob.metadata or {}))
