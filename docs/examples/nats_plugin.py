"""Publishes finished uploads to NATS JetStream.

Run it as a plugin, with the stream's server in NATS_URL:

    tuspy-server --hooks-plugin nats_plugin:Publisher

`Nats-Msg-Id` is the delivery's id, so the stream drops the repeat that a crash may cause: every finished upload is
in the stream once. Needs nats-py. Its connection lives on a loop of its own, so that it outlasts no server's loop
and serves WSGI, asyncio and trio alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading

import nats
from nats.aio.client import Client

from tuspy_server import HookEvent
from tuspy_server.hooks.payload import encode

STREAM = "uploads"
SUBJECT = "uploads.finished"


class Publisher:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._lock = threading.Lock()
        self._client: Client | None = None

    def close(self) -> None:
        """Send what is pending and disconnect."""
        with self._lock:
            if self._client is not None:
                asyncio.run_coroutine_threadsafe(self._client.drain(), self._loop).result()
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop.close()

    def post_finish(self, event: HookEvent) -> None:
        """Returns once the stream has stored the message; what it raises goes to the log."""
        asyncio.run_coroutine_threadsafe(self._publish(self._connected(), event), self._loop).result()

    def _connected(self) -> Client:
        # with the first event, in the process that serves it: neither thread nor connection survives a fork
        with self._lock:
            if not self._thread.is_alive():
                self._thread.start()
            if self._client is None:
                self._client = asyncio.run_coroutine_threadsafe(_connect(), self._loop).result()
            return self._client

    async def _publish(self, client: Client, event: HookEvent) -> None:
        payload = json.dumps(encode(event)).encode()
        headers = {"Nats-Msg-Id": event.delivery_id}
        await client.jetstream().publish(SUBJECT, payload, stream=STREAM, headers=headers)


async def _connect() -> Client:
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    await client.jetstream().add_stream(name=STREAM, subjects=[SUBJECT])
    return client
