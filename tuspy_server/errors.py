"""The TusError tree: every error knows its code, its status, whose fault it is and which headers it adds.

Codes are tusd's where tusd has the same error, so that logs and clients written for it keep working.
The message is what a client may read; details that only the operator should see go to the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from tuspy_server.models import Headers, Limits, Response, StoredResponse

Fault = Literal["client", "server", "nobody"]


class TusError(Exception):
    """Base of everything this package answers with an error status."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "ERR_INTERNAL_SERVER_ERROR"
    message: ClassVar[str] = "the server could not handle the request"
    fault: ClassVar[Fault] = "client"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.message)
        self.detail = detail or self.message

    @property
    def headers(self) -> Headers:
        """Fields this error adds to its answer."""
        return ()


class _TryLater(TusError):
    """An error that a client should answer by waiting."""

    fault: ClassVar[Fault] = "server"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> Headers:
        return (("Retry-After", str(self.retry_after)),)


class UnsupportedVersion(TusError):
    """No protocol version we speak was named (tus 1.0.0, Core: MUST 412 with Tus-Version)."""

    status = 412
    code = "ERR_UNSUPPORTED_VERSION"
    message = "missing, invalid or unsupported Tus-Resumable header"

    @property
    def headers(self) -> Headers:
        return (("Tus-Version", "1.0.0"),)


class InvalidContentType(TusError):
    status = 415
    code = "ERR_INVALID_CONTENT_TYPE"
    message = "missing or invalid Content-Type header"

    def __init__(self, detail: str = "", *, accept: str | None = None) -> None:
        super().__init__(detail)
        self.accept = accept

    @property
    def headers(self) -> Headers:
        return (("Accept-Patch", self.accept),) if self.accept else ()


class InvalidField(TusError):
    """A header field breaks its grammar or contradicts another."""

    status = 400
    code = "ERR_INVALID_FIELD"
    message = "invalid header field"


class InvalidOffset(InvalidField):
    code = "ERR_INVALID_OFFSET"
    message = "missing or invalid Upload-Offset header"


class InvalidLength(InvalidField):
    code = "ERR_INVALID_UPLOAD_LENGTH"
    message = "missing or invalid Upload-Length header"


class InvalidDeferLength(InvalidField):
    code = "ERR_INVALID_UPLOAD_LENGTH_DEFER"
    message = "invalid Upload-Defer-Length header"


class InvalidMetadata(InvalidField):
    code = "ERR_INVALID_METADATA"
    message = "invalid Upload-Metadata header"


class InvalidConcat(InvalidField):
    code = "ERR_INVALID_CONCAT"
    message = "invalid Upload-Concat header"


class InvalidChecksum(InvalidField):
    code = "ERR_INVALID_CHECKSUM"
    message = "invalid or unsupported Upload-Checksum header"


class InconsistentLength(InvalidField):
    """Two statements about an upload's length disagree."""

    code = "ERR_INCONSISTENT_LENGTH"
    message = "the length contradicts an earlier or another statement of it"


class UploadNotFinished(InvalidField):
    code = "ERR_UPLOAD_NOT_FINISHED"
    message = "one of the partial uploads is not finished"


class ChecksumMismatch(TusError):
    """The body's digest is not the announced one; its bytes were discarded."""

    status = 460
    code = "ERR_CHECKSUM_MISMATCH"
    message = "the checksum does not match, the body was discarded"


class OffsetMismatch(TusError):
    """An append names another offset than the upload has."""

    status = 409
    code = "ERR_MISMATCHED_OFFSET"
    message = "mismatched offset"

    def __init__(self, *, expected: int, provided: int | None = None) -> None:
        super().__init__()
        self.expected = expected
        self.provided = provided


class UploadExists(TusError):
    """An upload of this id is there already. Nothing was changed."""

    status = 409
    code = "ERR_UPLOAD_EXISTS"
    message = "an upload with this id exists already"


class UploadNotFound(TusError):
    status = 404
    code = "ERR_UPLOAD_NOT_FOUND"
    message = "upload not found"


class UploadGone(UploadNotFound):
    """The upload expired or was terminated, failed, or its record is unreadable."""

    status = 410
    code = "ERR_UPLOAD_GONE"
    message = "the upload is no longer available"


class UploadFailed(UploadGone):
    """The upload ended with a refusal. `response` is the answer it was given, where there is one to repeat."""

    def __init__(self, response: StoredResponse | None = None) -> None:
        super().__init__()
        self.response = response


class UploadCompleted(TusError):
    """Nothing can be appended to a completed upload; asking for its answer again takes an empty last append."""

    status = 400
    code = "ERR_UPLOAD_COMPLETED"
    message = "the upload is complete"


class AppendForbidden(TusError):
    """A final upload cannot be written to (tus 1.0.0, Concatenation: MUST 403)."""

    status = 403
    code = "ERR_MODIFY_FINAL"
    message = "modifying a final upload is not allowed"


class OriginNotAllowed(TusError):
    status = 403
    code = "ERR_ORIGIN_NOT_ALLOWED"
    message = "request origin is not allowed"


class MethodNotAllowed(TusError):
    status = 405
    code = "ERR_METHOD_NOT_ALLOWED"
    message = "method not allowed"

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow

    @property
    def headers(self) -> Headers:
        return (("Allow", self.allow),)


class LengthRequired(TusError):
    """A chunked body on a server where a truncated one looks complete."""

    status = 411
    code = "ERR_LENGTH_REQUIRED"
    message = "this server cannot tell a truncated chunked body from a complete one: send Content-Length"


class UploadTooLarge(TusError):
    status = 413
    code = "ERR_MAX_SIZE_EXCEEDED"
    message = "maximum size exceeded"

    def __init__(self, detail: str = "", *, limits: Limits | None = None) -> None:
        super().__init__(detail)
        self.limits = limits


class BodyTooLarge(UploadTooLarge):
    code = "ERR_UPLOAD_SIZE_EXCEEDED"
    message = "the body exceeds the upload's length"


class UploadTooSmall(TusError):
    """Less than the server announced to take at once, or as a resumable upload."""

    status = 400
    code = "ERR_MIN_SIZE_MISSED"
    message = "smaller than this server's minimum"

    def __init__(self, detail: str = "", *, limits: Limits | None = None) -> None:
        super().__init__(detail)
        self.limits = limits


class RangeNotSatisfiable(TusError):
    status = 416
    code = "ERR_RANGE_NOT_SATISFIABLE"
    message = "the range lies outside the upload"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @property
    def headers(self) -> Headers:
        return (("Content-Range", f"bytes */{self.size}"),)


class UploadLocked(_TryLater):
    """Another request holds the upload and did not let go in time."""

    status = 423
    code = "ERR_UPLOAD_LOCKED"
    message = "the upload is in use by another request"
    fault: ClassVar[Fault] = "nobody"


class UploadInterrupted(UploadLocked):
    """Another request asked for this upload; the bytes received until then are kept."""

    code = "ERR_UPLOAD_INTERRUPTED"
    message = "interrupted by another request for this upload, the bytes received so far are kept"


class BodyInterrupted(TusError):
    """The body ended before its end: reset, silence, or a short body. What arrived is kept.

    500, since clients retry an append after 5xx only.
    """

    status = 500
    code = "ERR_UNEXPECTED_EOF"
    message = "the body ended early, the bytes received so far are kept"


class ReadTimeout(BodyInterrupted):
    code = "ERR_READ_TIMEOUT"
    message = "no byte of the body arrived in time, the bytes received so far are kept"


class ShuttingDown(_TryLater):
    status = 503
    code = "ERR_SERVER_SHUTDOWN"
    message = "the server is shutting down, the bytes received so far are kept"


class StoreError(TusError):
    """The store could not do what it was asked. Base of all store trouble."""

    fault: ClassVar[Fault] = "server"


class StoreUnavailable(_TryLater, StoreError):
    """The store is out of reach for now; the same request may succeed later."""

    status = 503
    code = "ERR_STORE_UNAVAILABLE"
    message = "the store is temporarily unavailable"


class StoreFailed(StoreError):
    """The store failed for good at this operation."""

    code = "ERR_STORE_FAILED"
    message = "the store failed"


class SyncFailed(StoreFailed):
    """Bytes could not be made durable. Final for the upload: no retry may turn it into success."""

    code = "ERR_SYNC_FAILED"
    message = "the store could not make the bytes durable"


class StoreFull(StoreError):
    status = 507
    code = "ERR_STORE_FULL"
    message = "no space is left for uploads"


class RecordChanged(_TryLater, StoreError):
    """The record was replaced by somebody else since it was read; answered like a lock that was taken away."""

    status = 423
    code = "ERR_RECORD_CHANGED"
    message = "the upload was changed by another request"


class LockLost(_TryLater, StoreError):
    """The lock ran out while the request held it. Nothing was written afterwards; clients resume."""

    status = 503
    code = "ERR_LOCK_LOST"
    message = "the lock on the upload was lost"


class LockerUnavailable(UploadLocked):
    """The lock service is out of reach. 423, since clients give an upload up after a 5xx on HEAD."""

    code = "ERR_LOCKER_UNAVAILABLE"
    message = "the lock service is temporarily unavailable"


class NotSupported(TusError):
    """The composed store cannot do this."""

    status = 501
    code = "ERR_NOT_IMPLEMENTED"
    message = "this server does not support the feature"


class RejectUpload(TusError):
    """Raised by a `pre_` hook to refuse, with any status, headers and body."""

    status = 400
    code = "ERR_UPLOAD_REJECTED"
    message = "the upload was rejected by the server"

    def __init__(
        self, detail: str = "", *, status: int = 400, headers: Headers = (), body: bytes | None = None
    ) -> None:
        super().__init__(detail)
        self.answer_status = status
        self.answer_headers = headers
        self.answer_body = body


class DigestMismatch(RejectUpload):
    """All bytes are there, and they are not those that Repr-Digest promised. Final: no retry can help."""

    code = "ERR_DIGEST_MISMATCH"
    message = "the content does not match its Repr-Digest"


class StopUpload(TusError):
    """Raised by `post_receive` to end a running upload; `terminate` removes it as well."""

    status = 400
    code = "ERR_UPLOAD_STOPPED"
    message = "the upload was stopped by the server"

    def __init__(self, response: Response | None = None, *, terminate: bool = False) -> None:
        super().__init__()
        self.response = response
        self.terminate = terminate
