"""Hooks as HTTP requests: the payload is POSTed to one endpoint (extra `hooks`)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import httpx

from tuspy_server.hooks.payload import DEFAULT_EVENTS, HookFailed
from tuspy_server.hooks.transport import (
    DescribeStorage,
    Transport,
    excerpt,
    forwardable,
    forwarded,
    parse_answer,
)
from tuspy_server.loops import LoopThread
from tuspy_server.models import HookEvent

MOST_REDIRECTS = 10

T = TypeVar("T")

_RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

_HAS_HTTP2 = importlib.util.find_spec("h2") is not None


class HttpHooks(Transport):
    """POSTs each event to `url`. Sizes in bytes, times in seconds.

    `retries` counts all attempts; transport errors and answers of 500 and above are tried again, after `backoff`
    and then twice as long each time. `timeout` bounds one event altogether, attempts and waits. An empty answer
    of any 2xx status changes nothing; one larger than `size_limit` is a failure. `Idempotency-Key` is the same
    for every attempt and for a repeat after a crash. Proxy variables of the environment are honoured.
    Raises ValueError for a URL that is not http or https, and for fields that cannot be forwarded.
    """

    def __init__(
        self,
        url: str,
        *,
        events: Iterable[str] = DEFAULT_EVENTS,
        forward_headers: str | Iterable[str] = (),
        retries: int = 3,
        backoff: float = 1.0,
        timeout: float = 15.0,
        size_limit: int = 5120,
        verify: bool | ssl.SSLContext = True,
        describe_storage: DescribeStorage | None = None,
    ) -> None:
        super().__init__(events, describe_storage=describe_storage)
        self._url = httpx.URL(url)
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ValueError("the hooks endpoint is not an absolute http or https URL")
        if retries < 1:
            raise ValueError("retries counts the first attempt too: at least 1")
        self._forward = forwardable(forward_headers)
        self._retries = retries
        self._backoff = backoff
        self._timeout = timeout
        self._size_limit = size_limit
        self._client = _ClientThread(lambda: httpx.AsyncClient(http2=_HAS_HTTP2, verify=verify, timeout=timeout))

    def deliver(self, event: HookEvent, payload: Mapping[str, object]) -> object:
        body = json.dumps(payload).encode()
        headers = [
            *((name.encode("ascii"), value) for name, value in forwarded(event.request, self._forward)),
            (b"Content-Type", b"application/json"),
            (b"Accept-Encoding", b"identity"),  # so that the size limit bounds what is held in memory
            (b"Idempotency-Key", event.delivery_id.encode()),
        ]
        return parse_answer(self._client.run(lambda client: self._post_in_time(client, body, headers)))

    def close(self) -> None:
        self._client.close()

    async def _post_in_time(self, client: httpx.AsyncClient, body: bytes, headers: _RawHeaders) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(client, body, headers)
        except TimeoutError as exc:
            raise HookFailed(f"the hook endpoint did not answer within {self._timeout} seconds") from exc

    async def _post(self, client: httpx.AsyncClient, body: bytes, headers: _RawHeaders) -> bytes:
        for attempt in range(self._retries - 1):
            try:
                return await self._attempt(client, body, headers)
            except _TryAgain:
                await asyncio.sleep(self._backoff * 2**attempt)
        return await self._attempt(client, body, headers)

    async def _attempt(self, client: httpx.AsyncClient, body: bytes, headers: _RawHeaders) -> bytes:
        try:
            status, answer = await self._exchange(client, body, headers)
        except httpx.HTTPError as exc:
            raise _TryAgain(f"the hook endpoint cannot be reached: {type(exc).__name__}: {exc}") from exc
        if 200 <= status < 300:
            return answer
        failure = _TryAgain if status >= 500 else HookFailed
        raise failure(f"unexpected response code from hook endpoint ({status}): {excerpt(answer)}")

    async def _exchange(self, client: httpx.AsyncClient, body: bytes, headers: _RawHeaders) -> tuple[int, bytes]:
        request = client.build_request("POST", self._url, content=body, headers=headers)
        for _ in range(MOST_REDIRECTS + 1):
            response = await client.send(request, stream=True)
            try:
                # redirects by hand: the client would read their bodies whole, whatever their size
                if response.next_request is None:
                    return response.status_code, await self._limited(response)
                request = response.next_request
            finally:
                await response.aclose()
        raise HookFailed(f"the hook endpoint redirected more than {MOST_REDIRECTS} times")

    async def _limited(self, response: httpx.Response) -> bytes:
        answer = bytearray()
        async for piece in response.aiter_raw():
            answer += piece
            if len(answer) > self._size_limit:
                if not response.is_success:
                    return bytes(answer)
                raise HookFailed(f"hook response exceeded maximum size of {self._size_limit} bytes")
        return bytes(answer)


class _TryAgain(HookFailed):
    """A failure that another attempt may mend."""


class _ClientThread:
    """A client on an event loop in a thread of its own: only a loop can bound a whole exchange in time.

    Started by the first event, and anew in a worker process that was forked after it.
    """

    def __init__(self, make_client: Callable[[], httpx.AsyncClient]) -> None:
        self._make_client = make_client
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def run(self, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, bytes]]) -> bytes:
        with self._lock:
            if self._running is None or self._running.pid != os.getpid():
                self._running = _Running(self._make_client())
            running = self._running
        return running.wait_for(work(running.client))

    def close(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            running.stop()


class _Running:
    """The thread while it runs, and the client that belongs to its loop."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._loop = LoopThread("tus-http-hooks")
        self.pid = self._loop.pid
        self.wait_for = self._loop.wait_for

    def stop(self) -> None:
        self.wait_for(self.client.aclose())
        self._loop.stop()
