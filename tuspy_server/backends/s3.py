"""An S3 bucket: client, credentials, error map and conditional objects, shared by the store and its locker."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from io import RawIOBase
from typing import IO, Any, Final, Literal

import boto3  # type: ignore[import-untyped, unused-ignore]
from botocore.config import Config as ClientConfig  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import (  # type: ignore[import-untyped, unused-ignore]
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from tuspy_server.errors import StoreError, StoreFailed, StoreFull, StoreUnavailable

Addressing = Literal["auto", "path", "virtual"]

#: A multipart upload that is gone is NoSuchUpload on most servers, NoSuchKey on Ceph; "404" is all a HEAD can say.
_MISSING: Final = {"NoSuchKey", "NoSuchUpload", "NotFound"}
_REFUSED: Final = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_FULL: Final = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"}
_PASSING: Final = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "OperationAborted",
    "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed", "BadDigest", "404", "429",
}  # fmt: skip
_QUOTE: Final = '"'
_TRANSPORT: Final = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, OSError)


class Missing(Exception):
    """The server itself says that the object or multipart upload is not there."""


class Refused(Exception):
    """A precondition did not hold."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A small object as read: its bytes, and the ETag that a conditional write names."""

    body: bytes
    version: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing tells it."""

    key: str
    modified: datetime


class Bucket:
    """One bucket. Credentials are found as boto3 finds them; every call raises StoreError, Missing or Refused.

    `client` is a ready boto3 client, or None to make one lazily, once per process (a forked worker makes its own).
    `retries` are attempts made by the SDK, `connect_timeout` and `read_timeout` seconds, `connections` the size
    of its pool. `checksums` sends the newer CRC headers, which some S3-compatible servers refuse; without them
    the payload is still covered by the request's signature.
    """

    def __init__(
        self,
        name: str,
        *,
        client: Any = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        addressing: Addressing = "auto",
        accelerate: bool = False,
        connections: int = 32,
        retries: int = 4,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        checksums: bool = False,
    ) -> None:
        self.name = name
        self._given = client
        self._endpoint_url = endpoint_url
        self._region = region
        when = "when_supported" if checksums else "when_required"
        self._config = ClientConfig(
            # The default presigns as AWS takes it for buckets of before 2020 only, and never for KMS.
            signature_version="s3v4",
            s3={"addressing_style": addressing, "use_accelerate_endpoint": accelerate},
            retries={"total_max_attempts": retries, "mode": "standard"},
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=connections,
            request_checksum_calculation=when,
            response_checksum_validation=when,
        )
        self._made: tuple[int, Any] | None = None
        self._making = threading.Lock()

    def hasty(self, timeout: float) -> Bucket:
        """The same bucket through connections that give up after `timeout` seconds and try again only once."""
        if self._given is not None:
            return self
        hasty = copy(self)
        hasty._made = None
        configured: float = vars(self._config)["connect_timeout"]  # botocore sets its options at run time
        hasty._config = self._config.merge(
            ClientConfig(
                connect_timeout=min(timeout, configured),
                read_timeout=timeout,
                retries={"total_max_attempts": 2, "mode": "standard"},
            )
        )
        return hasty

    @property
    def client(self) -> Any:
        """The boto3 client of this process."""
        if self._given is not None:
            return self._given
        made = self._made
        if made is None or made[0] != os.getpid():
            with self._making:
                made = self._made
                if made is None or made[0] != os.getpid():
                    session = boto3.Session()
                    client = session.client(
                        "s3", endpoint_url=self._endpoint_url, region_name=self._region, config=self._config
                    )
                    self._made = made = (os.getpid(), client)
        return made[1]

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Carry out one operation, named as boto3's method, in this bucket."""
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Bucket=self.name, **parameters)
        except Exception as exc:
            raise translate(exc, operation) from exc
        return answer

    def presigned(self, operation: str, *, seconds: int, **parameters: Any) -> str:
        """A URL that carries out one operation for whoever has it, for `seconds`. Asks the server nothing."""
        parameters = {"Bucket": self.name, **parameters}
        try:
            url: str = self.client.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
        except Exception as exc:
            raise translate(exc, f"presigned {operation}") from exc
        return url

    def write(self, operation: str, **parameters: Any) -> str:
        """Carry out a `call` that stores bytes; return the ETag. An answer without one stored nothing for certain."""
        etag = self.call(operation, **parameters).get("ETag")
        if not isinstance(etag, str) or not etag:
            raise StoreUnavailable(f"S3 {operation} was answered without an ETag")
        return quoted(etag)

    def get(self, key: str) -> Stored | None:
        """The whole of a small object, or None if there is none."""
        try:
            answer = self.call("get_object", Key=key)
        except Missing:
            return None
        return Stored(self.read_all(answer), answer["ETag"], answer["LastModified"])

    def read_all(self, answer: dict[str, Any]) -> bytes:
        """The body of an answer to get_object, complete or StoreUnavailable."""
        try:
            body: bytes = answer["Body"].read()
        except Exception as exc:
            raise translate(exc, "get_object") from exc
        finally:
            answer["Body"].close()
        return body

    def stream(self, answer: dict[str, Any], size: int) -> Iterator[bytes]:
        """The body of an answer to get_object in pieces of up to `size` bytes; StoreUnavailable once it breaks."""
        body = answer["Body"]
        try:
            while piece := body.read(size):
                yield piece
        except Exception as exc:
            raise translate(exc, "get_object") from exc
        finally:
            body.close()

    def put(self, key: str, body: bytes | IO[bytes] | RawIOBase, **parameters: Any) -> str:
        """Store a small object, whatever was there; return its version."""
        return self.write("put_object", Key=key, Body=body, **parameters)

    def put_if_absent(self, key: str, body: bytes, **parameters: Any) -> str | None:
        """Store an object where there is none; return its version, or None if one is there.

        `body` should be unique to this writer: it tells a repeated request that its first try had succeeded.
        """
        return self._put_if(key, body, IfNoneMatch="*", **parameters)

    def put_if_match(self, key: str, body: bytes, version: str, **parameters: Any) -> str | None:
        """Replace the object while it still is `version`; return the new version, or None if it is not."""
        return self._put_if(key, body, IfMatch=version, **parameters)

    def _put_if(self, key: str, body: bytes, **parameters: Any) -> str | None:
        try:
            return self.write("put_object", Key=key, Body=body, **parameters)
        except (Missing, Refused):
            stored = self.get(key)
            return stored.version if stored is not None and stored.body == body else None

    def delete_if_match(self, key: str, version: str) -> bool:
        """Delete the object while it still is `version`; whether it is gone now.

        Few servers besides AWS know conditional deletes; others delete unconditionally, so ask
        `has_conditional_deletes` first and replace the object by an empty state where it says False.
        """
        try:
            self.call("delete_object", Key=key, IfMatch=version)
        except Missing:
            return True
        except Refused:
            return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for first in range(0, len(keys), 1000):
            names = [{"Key": key} for key in keys[first : first + 1000]]
            answer = self.call("delete_objects", Delete={"Objects": names, "Quiet": True})
            failed = [e for e in answer.get("Errors", ()) if e.get("Code") not in _MISSING]
            if failed:
                raise StoreUnavailable(f"S3 delete_objects failed for {len(failed)} objects: {failed[0].get('Code')}")

    def list(self, prefix: str, *, page: int = 1000) -> Iterator[Listed]:
        """Objects whose keys begin with `prefix`, in order of their bytes, fetched page by page."""
        more: dict[str, Any] = {}
        while True:
            answer = self.call("list_objects_v2", Prefix=prefix, MaxKeys=page, **more)
            yield from (Listed(entry["Key"], entry["LastModified"]) for entry in answer.get("Contents", ()))
            if not answer.get("IsTruncated") or not answer.get("NextContinuationToken"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def has_conditional_writes(self, key: str) -> bool:
        """Try out on a scratch object at `key` whether the server keeps If-None-Match and If-Match."""
        try:
            version = self.put(key, secrets.token_bytes(16))
            kept = self._refuses("put_object", Key=key, Body=b"1", IfNoneMatch="*") and self._refuses(
                "put_object", Key=key, Body=b"2", IfMatch='"00000000000000000000000000000000"'
            )
            return kept and self.put_if_match(key, secrets.token_bytes(16), version) is not None
        finally:
            self.delete([key])

    def has_conditional_deletes(self, key: str) -> bool:
        """Try out on a scratch object at `key` whether the server keeps If-Match on deletes."""
        try:
            self.put(key, secrets.token_bytes(16))
            return self._refuses("delete_object", Key=key, IfMatch='"00000000000000000000000000000000"')
        finally:
            self.delete([key])

    def _refuses(self, operation: str, **parameters: Any) -> bool:
        try:
            self.call(operation, **parameters)
        except Refused:
            return True
        except (Missing, StoreFailed):
            return False
        return False


def quoted(etag: str) -> str:
    """An ETag in quotes: SeaweedFS tells that of a copied part without, and with them in the listing."""
    return f'"{etag.strip(_QUOTE)}"'


def translate(exc: Exception, operation: str) -> StoreError | Missing | Refused:
    """The error that a caller sees for what the SDK raised once it gave up. Names the operation, never a key."""
    what = f"S3 {operation}"
    if isinstance(exc, ClientError):
        return _translate_answer(exc, operation, what)
    if isinstance(exc, _TRANSPORT):
        return StoreUnavailable(f"{what}: {type(exc).__name__}")
    return StoreFailed(f"{what}: {type(exc).__name__}")


def _translate_answer(exc: ClientError, operation: str, what: str) -> StoreError | Missing | Refused:
    code = str(exc.response.get("Error", {}).get("Code", ""))
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # A bare 404 without S3's own code comes from a proxy or a wrong endpoint, and proves nothing but for HEAD.
    if code in _MISSING or (code == "404" and operation == "head_object"):
        return Missing(what)
    if code in _REFUSED:
        return Refused(what)
    if code in _FULL:
        return StoreFull(f"{what}: {code}")
    if code in _PASSING or status >= 500 or status == 429:
        return StoreUnavailable(f"{what}: {code}")
    return StoreFailed(f"{what}: {code}")
