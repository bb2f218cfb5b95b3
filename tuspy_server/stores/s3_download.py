"""Reading finished objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tuspy_server.backends.s3 import Bucket, Missing, Refused
from tuspy_server.errors import StoreUnavailable, UploadGone
from tuspy_server.models import UploadInfo

_PIECE: Final = 1024 * 1024
_ATTEMPTS: Final = 4
#: How long a presigned URL is good for at most, in seconds.
LONGEST: Final = 7 * 24 * 3600
_OVERRIDES: Final = {
    "Content-Type": "ResponseContentType",
    "Content-Disposition": "ResponseContentDisposition",
    "Cache-Control": "ResponseCacheControl",
}


def read_object(bucket: Bucket, info: UploadInfo, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of the upload's object, streamed; a connection that breaks is taken up again where it broke.

    Raises UploadGone if the object is not there, not of the upload's length, or replaced while it is read.
    """
    etag: str | None = None
    failures = 0
    while start < stop:
        try:
            answer = _get(bucket, info, start, stop, etag)
            etag = answer["ETag"]
            for piece in bucket.stream(answer, _PIECE):
                start += len(piece)
                yield piece
            if start < stop:
                raise StoreUnavailable("S3 get_object ended early")
        except StoreUnavailable:
            failures += 1
            if failures == _ATTEMPTS:
                raise


def _get(bucket: Bucket, info: UploadInfo, start: int, stop: int, etag: str | None) -> dict[str, Any]:
    condition = {"IfMatch": etag} if etag else {}
    try:
        answer = bucket.call(
            "get_object", Key=info.storage.get("key", ""), Range=f"bytes={start}-{stop - 1}", **condition
        )
    except (Missing, Refused) as exc:
        raise UploadGone from exc
    size = str(answer.get("ContentRange", "")).rpartition("/")[2]
    if size != str(info.length):
        answer["Body"].close()
        raise UploadGone
    return answer


def presigned_url(bucket: Bucket, info: UploadInfo, *, seconds: int, **response_headers: str) -> str:
    """A URL from which the object can be fetched for `seconds`; `response_headers` by boto3's names, such as
    ResponseContentDisposition."""
    return bucket.presigned("get_object", seconds=seconds, Key=info.storage["key"], **response_headers)


def overrides(headers: Mapping[str, str]) -> dict[str, str]:
    """boto3's names for those header fields that an object can be served with instead of its own."""
    return {_OVERRIDES[name]: value for name, value in headers.items() if name in _OVERRIDES}
