"""Faults between a boto3 client and its server, at exactly one call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import Enum
from threading import Lock
from typing import Any

from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import (  # type: ignore[import-untyped, unused-ignore]
    ConnectionClosedError,
    ConnectTimeoutError,
    ReadTimeoutError,
)


class Fault(Enum):
    """What happens to a call: before it acts, or after it acted, when only the answer is lost."""

    UNREACHABLE = "unreachable"
    INTERNAL_ERROR = "500 before it acts"
    SLOW_DOWN = "503 SlowDown"
    ERROR_IN_200 = "200 with an error body"
    TIMEOUT = "timeout after it acted"
    RESET = "reset after it acted"
    INTERNAL_ERROR_AFTER = "500 after it acted"
    KILLED = "kill -9 before it acts"
    KILLED_AFTER = "kill -9 after it acted"


#: What the process survives.
FAULTS = tuple(fault for fault in Fault if not fault.name.startswith("KILLED"))

#: Calls whose answer is a stream of bytes, in which an error cannot be told from content.
_STREAMS = {"GetObject"}


class Faults:
    """Counts the calls of a client; the call number `at` meets `fault`. `calls` are their operations' names."""

    def __init__(self, client: Any, fault: Fault | None = None, at: int = -1) -> None:
        self.calls: list[str] = []
        self._fault = fault
        self._at = at
        self._send: Callable[[Any], Any] = client._endpoint.http_session.send
        self._counting = Lock()
        client.meta.events.register("before-send.s3", self._before_send)

    @property
    def struck(self) -> str | None:
        """The operation that met the fault, None if there were fewer calls."""
        return self.calls[self._at] if 0 <= self._at < len(self.calls) else None

    def _before_send(self, request: Any, event_name: str, **_: Any) -> Any:
        operation = event_name.rpartition(".")[2]
        with self._counting:
            number = len(self.calls)
            self.calls.append(operation)
        return self._strike(request, operation) if number == self._at else None

    def _strike(self, request: Any, operation: str) -> Any:
        assert self._fault is not None
        return strike(self._fault, request, operation, self._send)


class Script:
    """Faults at chosen calls: `fail` strikes the next calls that match, `hold` lets a call time out although it is
    still under way, and `release` lets it land."""

    def __init__(self, client: Any) -> None:
        self._send: Callable[[Any], Any] = client._endpoint.http_session.send
        self._rules: list[tuple[str, str, Fault | None]] = []
        self._held: list[Any] = []
        self.calls: list[str] = []
        client.meta.events.register("before-send.s3", self._before_send)

    def fail(self, operation: str, fault: Fault = Fault.INTERNAL_ERROR, *, url: str = "", times: int = 1) -> None:
        """Strike the next `times` calls of `operation` whose URL holds `url`."""
        self._rules += [(operation, url, fault)] * times

    def hold(self, operation: str, *, url: str = "") -> None:
        """Keep the next such call back; its caller sees a timeout."""
        self._rules.append((operation, url, None))

    def release(self) -> None:
        """Let the calls land that were held, in the order in which they were made."""
        held, self._held = self._held, []
        for request in held:
            assert self._send(request).status_code == 200

    def _before_send(self, request: Any, event_name: str, **_: Any) -> Any:
        operation = event_name.rpartition(".")[2]
        self.calls.append(operation)
        for rule in self._rules:
            if rule[0] == operation and rule[1] in request.url:
                self._rules.remove(rule)
                if rule[2] is not None:
                    return strike(rule[2], request, operation, self._send)
                self._held.append(request)
                raise ReadTimeoutError(endpoint_url=request.url)
        return None


def strike(fault: Fault, request: Any, operation: str, send: Callable[[Any], Any]) -> Any:
    """Let `fault` happen to a request: raises, returns the answer, or ends the process."""
    url = request.url
    match fault:
        case Fault.UNREACHABLE:
            raise ConnectTimeoutError(endpoint_url=url)
        case Fault.INTERNAL_ERROR:
            return _answer(url, 500, "InternalError")
        case Fault.SLOW_DOWN:
            return _answer(url, 503, "SlowDown")
        case Fault.ERROR_IN_200:
            return _answer(url, 500 if operation in _STREAMS else 200, "InternalError")
        case Fault.TIMEOUT:
            send(request).content  # noqa: B018 - reads the answer off the connection
            raise ReadTimeoutError(endpoint_url=url)
        case Fault.RESET:
            send(request).content  # noqa: B018
            raise ConnectionClosedError(endpoint_url=url)
        case Fault.INTERNAL_ERROR_AFTER:
            send(request).content  # noqa: B018
            return _answer(url, 500, "InternalError")
        case Fault.KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        case Fault.KILLED_AFTER:
            send(request).content  # noqa: B018
            os.kill(os.getpid(), signal.SIGKILL)
    return None


class _Raw:
    """The little of urllib3's response that botocore reads."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()

    def close(self) -> None:
        """Nothing is held."""


def _answer(url: str, status: int, code: str) -> Any:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    return AWSResponse(url, status, {"Content-Type": "application/xml"}, _Raw(body.encode()))
