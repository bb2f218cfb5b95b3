"""What belongs to one request on its way through the engine."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuspy_server.config import Config
from tuspy_server.engine.body import Body
from tuspy_server.engine.downloading import Download
from tuspy_server.errors import TusError
from tuspy_server.hooks.events import Hooks
from tuspy_server.models import Headers, HookEvent, Request, Response, UploadInfo
from tuspy_server.protocol.dialect import Call, Dialect
from tuspy_server.protocol.resolve import url_of
from tuspy_server.protocol.rules import delivery_id

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime

After = Callable[["Runtime"], Coroutine[Any, Any, None]]
Interim = Callable[[Headers], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer. `after` must be awaited once it was sent, or could not be; it holds the lock until then, and may take
    long: the runtime it is given says where."""

    response: Response
    download: Download | None = None
    after: After | None = None
    failed: bool = False
    error: TusError | None = None


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request being carried out. `upload` is the record as it was last seen, for the answer's fields."""

    call: Call
    dialect: Dialect
    body: Body
    runtime: Runtime
    hooks: Hooks
    interim: Interim | None = None
    upload: UploadInfo | None = None
    _id: str | None = None

    @property
    def id(self) -> str:
        """Of this request, unguessable; made when it is first asked for."""
        if self._id is None:
            self._id = secrets.token_hex(8)
        return self._id

    @property
    def request(self) -> Request:
        return self.call.request

    @property
    def config(self) -> Config:
        return self.call.config

    def url_of(self, upload_id: str) -> str:
        return url_of(self.request, upload_id, self.config)

    def event(self, hook_type: str, upload: UploadInfo) -> HookEvent:
        delivery = delivery_id(upload, hook_type, self.id)
        return HookEvent(type=hook_type, upload=upload, request=self.request, delivery_id=delivery)
