"""Small HTTP client for lock services that speak JSON: several addresses, kept connections, few errors."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from tuspy_server.errors import LockerUnavailable

_IDLE_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """A status below 500 with its fields and its decoded body; None if it had none, or an error was told in words."""

    status: int
    headers: HTTPMessage
    body: Any


class JsonHttp:
    """Calls the first of `addresses` (http or https URLs without a path) that can be reached; thread-safe.

    `timeout` in seconds is for every step: connecting, sending, each read. Connections are kept and reused; one
    that the other side has closed meanwhile is replaced, so that a call may arrive twice: make it idempotent.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._idle: list[HTTPConnection] = []
        self._addresses = [_checked(address) for address in addresses]
        if not self._addresses:
            raise ValueError("no address of the lock service was given")
        self._timeout = timeout
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._ssl_context = ssl_context
        self._mutex = threading.Lock()

    def call(self, method: str, target: str, body: object = None, *, timeout: float | None = None) -> Answer:
        """Raises LockerUnavailable if no address answers, or the answer's status is 500 or more."""
        connection, response = self._send(method, target, body, timeout or self._timeout)
        try:
            text = response.read()
            answer = Answer(response.status, response.headers, _decoded(text, response.status))
        except (OSError, HTTPException, ValueError) as exc:
            connection.close()
            raise LockerUnavailable from exc
        self._keep(connection)
        if answer.status >= 500:
            raise LockerUnavailable(f"the lock service answered {answer.status}")
        return answer

    def stream(self, target: str, body: object, *, timeout: float) -> Iterator[Any]:
        """The lines of an endless answer, decoded, until nothing came for `timeout` seconds or the answer ends.

        Raises LockerUnavailable as soon as the connection breaks.
        """
        connection, response = self._send("POST", target, body, timeout)
        try:
            while line := response.readline():
                yield json.loads(line)
        except TimeoutError:
            return
        except (OSError, HTTPException, ValueError) as exc:
            raise LockerUnavailable from exc
        finally:
            connection.close()

    def forget(self) -> None:
        """In a forked child: close our copies of the parent's connections."""
        self._mutex = threading.Lock()
        self.close()

    def close(self) -> None:
        """Close connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    __del__ = close

    def _send(self, method: str, target: str, body: object, timeout: float) -> tuple[HTTPConnection, HTTPResponse]:
        failure: Exception | None = None
        while connection := self._take_idle():
            try:
                return connection, self._request(connection, method, target, body, timeout)
            except TimeoutError as exc:
                raise LockerUnavailable from exc
            except (OSError, HTTPException) as exc:
                failure = exc
        for address in list(self._addresses):
            connection = self._connection(address, timeout)
            try:
                return connection, self._request(connection, method, target, body, timeout)
            except (OSError, HTTPException) as exc:
                failure = exc
                self._try_last(address)
                if isinstance(exc, TimeoutError):
                    break
        raise LockerUnavailable from failure

    def _request(
        self, connection: HTTPConnection, method: str, target: str, body: object, timeout: float
    ) -> HTTPResponse:
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, target, None if body is None else json.dumps(body), self._headers)
            return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _connection(self, address: str, timeout: float) -> HTTPConnection:
        url = urlsplit(address)
        if url.scheme == "https":
            return HTTPSConnection(url.hostname or "", url.port, timeout=timeout, context=self._ssl_context)
        return HTTPConnection(url.hostname or "", url.port, timeout=timeout)

    def _take_idle(self) -> HTTPConnection | None:
        with self._mutex:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: HTTPConnection) -> None:
        with self._mutex:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def _try_last(self, address: str) -> None:
        with self._mutex:
            self._addresses.remove(address)
            self._addresses.append(address)


def _decoded(text: bytes, status: int) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        if status < 400:
            raise
        return None  # Consul's 404 to a session that is gone is plain text


def _checked(address: str) -> str:
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query:
        raise ValueError(f"{address!r} is not an http or https URL without a path")
    return address
