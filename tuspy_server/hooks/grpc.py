"""Hooks as calls of a gRPC service, `proto.HookHandler` of hook.proto (extra `hooks`)."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from tuspy_server.hooks.grpc_messages import METHOD, answer_object, request_bytes
from tuspy_server.hooks.payload import DEFAULT_EVENTS, HookFailed
from tuspy_server.hooks.transport import DescribeStorage, Transport, forwardable, forwarded
from tuspy_server.models import HookEvent

_Metadata: TypeAlias = tuple[tuple[str, str], ...]

_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
# gRPC over HTTP/2: a key ending in -bin carries octets, grpc- is reserved, values are printable ASCII
_METADATA_KEY = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_NOT_PRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the receiver. Files are PEM.

    `server_certificate` is the only root trusted; without it the system's are. `client_certificate` and
    `client_key`, both or none, make it mutual.
    """

    server_certificate: str | os.PathLike[str] | None = None
    client_certificate: str | os.PathLike[str] | None = None
    client_key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) is not (self.client_key is None):
            raise ValueError("mutual TLS needs the client's certificate and its key: only one of them is given")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.server_certificate),
            private_key=_read(self.client_key),
            certificate_chain=_read(self.client_certificate),
        )


class GrpcHooks(Transport):
    """Calls `InvokeHook` at `target` for each event. Times in seconds.

    `retries` counts all attempts; UNAVAILABLE and RESOURCE_EXHAUSTED are tried again, after `backoff` and then
    twice as long each time. `timeout` bounds one event altogether. Forwarded request fields become call metadata
    (lower case, the first value), next to `idempotency-key`. Raises OSError where a TLS file cannot be read.
    """

    def __init__(
        self,
        target: str,
        *,
        events: Iterable[str] = DEFAULT_EVENTS,
        forward_headers: str | Iterable[str] = (),
        retries: int = 3,
        backoff: float = 1.0,
        timeout: float = 15.0,
        tls: Tls | None = None,
        describe_storage: DescribeStorage | None = None,
    ) -> None:
        super().__init__(events, describe_storage=describe_storage)
        if retries < 1:
            raise ValueError("retries counts the first attempt too: at least 1")
        self._forward = _metadata_keys(forward_headers)
        self._retries = retries
        self._backoff = backoff
        self._timeout = timeout
        self._target = target
        self._credentials = None if tls is None else tls.credentials()
        self._lock = threading.Lock()
        self._channel: tuple[int, grpc.Channel] | None = None

    def deliver(self, event: HookEvent, payload: Mapping[str, object]) -> object:
        deadline = time.monotonic() + self._timeout
        data, metadata = request_bytes(payload), self._metadata(event)
        wait, left = self._backoff, self._retries
        while True:
            try:
                return self._call(data, metadata, deadline)
            except grpc.RpcError as exc:
                left -= 1
                if left == 0 or exc.code() not in _RETRIED or time.monotonic() + wait >= deadline:
                    raise HookFailed(f"the gRPC hook failed: {exc.code().name}: {exc.details()}") from exc
            time.sleep(wait)
            wait *= 2

    def close(self) -> None:
        with self._lock:
            opened, self._channel = self._channel, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def _call(self, data: bytes, metadata: _Metadata, deadline: float) -> object:
        answer = self._method()(data, timeout=max(deadline - time.monotonic(), 0), metadata=metadata)
        try:
            return answer_object(answer)
        except ValueError as exc:
            raise HookFailed(f"failed to parse hook response: {exc}") from exc

    def _method(self) -> Callable[..., bytes]:
        # opened by the first event: a channel does not survive the fork into worker processes
        with self._lock:
            if self._channel is None or self._channel[0] != os.getpid():
                self._channel = (os.getpid(), self._open())
            return self._channel[1].unary_unary(METHOD)

    def _open(self) -> grpc.Channel:
        if self._credentials is None:
            return grpc.insecure_channel(self._target)
        return grpc.secure_channel(self._target, self._credentials)

    def _metadata(self, event: HookEvent) -> _Metadata:
        first = {"idempotency-key": event.delivery_id}
        for name, value in forwarded(event.request, self._forward):
            first.setdefault(name.lower(), _NOT_PRINTABLE.sub("?", value.decode("latin-1")))
        return tuple(first.items())


def _metadata_keys(names: str | Iterable[str]) -> tuple[str, ...]:
    keys = forwardable(names)
    for key in keys:
        if _METADATA_KEY.fullmatch(key.lower()) is None:
            raise ValueError(f"the field {key} cannot be forwarded as gRPC metadata")
    return keys


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
