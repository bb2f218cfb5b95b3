"""What a dialect is: one reading of requests into intents and one writing of outcomes into answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tuspy_server.config import Config
from tuspy_server.errors import TusError
from tuspy_server.models import NO_LIMITS, Headers, Limits, Request, Response, StoredResponse, UploadInfo
from tuspy_server.protocol.intents import NO_CONTENT, Append, Content, Create, Intent
from tuspy_server.protocol.resolve import Target, UploadPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the composed server can do for this request."""

    extensions: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    terminates: bool = True
    downloads: bool = True

    def has(self, extension: str) -> bool:
        return extension in self.extensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, routed. `method` is the effective one, after X-HTTP-Method-Override."""

    request: Request
    method: str
    target: Target
    config: Config
    capabilities: Capabilities
    content: Content = NO_CONTENT

    @property
    def upload_id(self) -> str:
        """The id of the upload it names; only for calls whose target is one."""
        assert isinstance(self.target, UploadPath)
        return self.target.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error to be written: `upload` as far as it is known, `location` where the upload outlives the error."""

    error: TusError
    upload: UploadInfo | None = None
    location: str | None = None


class Dialect(Protocol):
    """Pure. `read` raises TusError; the writers never raise."""

    @property
    def protocol(self) -> str:
        """What is recorded as `UploadInfo.protocol`."""
        ...

    @property
    def draft_version(self) -> int | None:
        """The interop version this request speaks; None for tus 1.0.0."""

    def read(self, call: Call) -> Intent: ...

    def created(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Response:
        """A new upload that is not complete yet."""
        ...

    def appended(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Response:
        """More bytes for an upload that is not complete yet."""
        ...

    def completed(
        self, call: Call, info: UploadInfo, response: StoredResponse | None, location: str, now: datetime
    ) -> Response:
        """The end of an upload, by creation or append; also when asked for again. `response` is the app's."""
        ...

    def interrupted(self, call: Call, info: UploadInfo, failure: TusError, location: str, now: datetime) -> Response:
        """A new upload whose first bytes broke off; it can be resumed."""
        ...

    def announced(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Headers | None:
        """The 104 that names a new upload, before its body is read; None where it must not be sent."""

    def progressed(self, call: Call, intent: Create | Append, offset: int) -> Headers | None:
        """A 104 that tells a durable offset while the body is read; None where it must not be sent."""

    def described(self, call: Call, info: UploadInfo, now: datetime) -> Response: ...

    def terminated(self, call: Call) -> Response: ...

    def refused(self, call: Call, refusal: Refusal, now: datetime) -> Response: ...


def explanation(error: TusError) -> str:
    """What a client may read of an error: the details of our own trouble are for the log."""
    return error.message if error.fault == "server" else error.detail


def plain_text(error: TusError) -> tuple[Headers, bytes]:
    """`CODE: message`, as tusd writes it."""
    body = f"{error.code}: {explanation(error)}\n".encode()
    return (("Content-Type", "text/plain; charset=utf-8"),), body


def allowed_methods(call: Call) -> tuple[str, ...]:
    """The methods the target answers to, OPTIONS included."""
    if not isinstance(call.target, UploadPath):
        return ("POST", "OPTIONS")
    capabilities = call.capabilities
    download = ("GET",) if capabilities.downloads else ()
    delete = ("DELETE",) if capabilities.terminates else ()
    return ("HEAD", *download, "PATCH", *delete, "OPTIONS")
