"""What every transport has in common: the enabled events, and one round of payload, delivery and answer."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypedDict, TypeVar, cast

from tuspy_server.hooks.events import HOOK_TYPES
from tuspy_server.hooks.payload import DEFAULT_EVENTS, HookFailed, decode, encode, parse_events
from tuspy_server.models import HookEvent, HookResult, Request, UploadInfo

H = TypeVar("H")
DescribeStorage: TypeAlias = Callable[[UploadInfo], Mapping[str, str]]


class HookSet(TypedDict, Generic[H], total=False):
    """Hooks by their names, for `Hooks(**hook_set)`."""

    pre_access: H
    pre_create: H
    post_create: H
    post_receive: H
    pre_finish: H
    post_finish: H
    pre_terminate: H
    post_terminate: H


class Transport(ABC):
    """Delivers hook events to a receiver outside this process and reads its answer.

    `describe_storage` says where an upload's bytes lie, see `storage_of`; without it the record's `storage` is sent.
    Build hooks with `Hooks(**transport.hooks())`; `close` frees what the transport holds, after the last event.
    """

    def __init__(
        self, events: Iterable[str] = DEFAULT_EVENTS, *, describe_storage: DescribeStorage | None = None
    ) -> None:
        self.events = parse_events(events)
        self._describe_storage = describe_storage

    def hooks(self) -> HookSet[Callable[[HookEvent], HookResult | None]]:
        """A callable for each enabled event, by our hook name."""
        enabled = {name: self.invoke for name in HOOK_TYPES if name in self.events}
        return cast("HookSet[Callable[[HookEvent], HookResult | None]]", enabled)

    def invoke(self, event: HookEvent) -> HookResult | None:
        """Deliver one event and read the answer. Blocks; safe from several threads.

        Raises RejectUpload, RejectTermination or StopUpload as the answer says, HookFailed if there is none.
        """
        storage = None
        if self._describe_storage is not None and event.type != "pre_create":
            storage = self._describe_storage(event.upload)
        return decode(event, self.deliver(event, encode(event, storage)))

    @abstractmethod
    def deliver(self, event: HookEvent, payload: Mapping[str, object]) -> object:
        """Bring the payload to the receiver and return the answer object, None for an empty one."""

    def close(self) -> None:  # noqa: B027 - most transports hold nothing
        """Free connections and threads. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def storage_of(store: object) -> DescribeStorage | None:
    """How to describe where this store's uploads lie, as tusd does; None where the record says all.

    A store that keeps files (it has `path(info)` and `directory`) is described by absolute paths.
    """
    path, directory = getattr(store, "path", None), getattr(store, "directory", None)
    if not callable(path) or directory is None:
        return None

    def describe(info: UploadInfo) -> Mapping[str, str]:
        record = os.path.join(directory, f"{info.id}.info")
        return {**info.storage, "type": "filestore", "path": str(path(info)), "info_path": record}

    return describe


def forwardable(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names of request fields to pass on, from a comma-separated text or single names, as configured.

    Raises ValueError for one that describes the connection or the body and must not be passed on.
    """
    split = names.split(",") if isinstance(names, str) else names
    found = tuple(name.strip() for name in split if name.strip())
    for name in found:
        if name.lower() in _NEVER_FORWARDED:
            raise ValueError(f"the field {name} cannot be forwarded to hooks: it describes the connection or the body")
    return found


def forwarded(request: Request, names: Iterable[str]) -> list[tuple[str, bytes]]:
    """The request's values of these fields, as they came, under the configured spelling."""
    return [(name, _octets(value)) for name in names for key, value in request.headers if key == name.lower()]


def parse_answer(body: bytes) -> object:
    """An answer's JSON; blank is None. Raises HookFailed, which quotes the start of what it could not read."""
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError as exc:
        raise HookFailed(f"failed to parse hook response: {exc}, response was: {excerpt(body)}") from exc


def excerpt(body: bytes) -> str:
    """The start of an answer, for a log line."""
    return body[:512].decode("utf-8", "replace").strip()


def _octets(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")


_NEVER_FORWARDED = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
