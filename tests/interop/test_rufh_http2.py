"""HTTP/2 delimits content by itself: none needs a Content-Length, and a reset stream cuts it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import pytest

from tests.interop.rufh import BASE, DraftClient, DraftServer, draft_server
from tests.protocol.drafts import VERSIONS
from tests.servers.wire import APPEND, WireClient, eventually

BODY = os.urandom(100_000)
SENT = 40_000  # less than the window of a new stream


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DraftServer]:
    with draft_server("hypercorn", tmp_path_factory.mktemp("http2") / "uploads") as found:
        yield found


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, server: DraftServer) -> DraftClient:
    version: int = request.param
    return server.client(version)


class Stream:
    """One request on an HTTP/2 connection of its own, by prior knowledge."""

    def __init__(self, port: int, method: str, path: str, headers: Mapping[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._connection.initiate_connection()
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", f"127.0.0.1:{port}")]
        self._connection.send_headers(1, [*pseudo, *((name.lower(), value) for name, value in headers.items())])
        self._flush()

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 10_000):  # a frame has at most 16384 bytes
            self._connection.send_data(1, data[start : start + 10_000])
        self._flush()

    def end(self) -> int:
        """End the content; the status of the answer."""
        self._connection.end_stream(1)
        self._flush()
        while True:
            for event in self._connection.receive_data(self._socket.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    return int(dict(event.headers or [])[b":status"])

    def reset(self) -> None:
        """Give the stream up; the connection stays."""
        self._connection.reset_stream(1)
        self._flush()

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        self._socket.sendall(self._connection.data_to_send())


def test_content_without_a_length_is_received(client: DraftClient) -> None:
    upload = client.create()
    with closing(Stream(client.port, "PATCH", upload, client.fields(client.appending(0, True)))) as stream:
        stream.send(BODY[:SENT])
        assert stream.end() == 201
    assert client.get(upload).body == BODY[:SENT]


def test_an_end_without_content_is_one(client: DraftClient) -> None:
    upload = client.create(b"hello")
    with closing(Stream(client.port, "PATCH", upload, client.fields(client.appending(5, True)))) as stream:
        assert stream.end() == 201
    assert client.get(upload).body == b"hello"


def test_content_without_a_length_is_received_from_tus_clients_too(server: DraftServer) -> None:
    tus = WireClient(server.port)
    upload = tus.create(SENT)
    fields = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", **APPEND}
    with closing(Stream(server.port, "PATCH", urlsplit(upload).path, fields)) as stream:
        stream.send(BODY[:SENT])
        assert stream.end() == 204
    assert tus.get(upload).body == BODY[:SENT]
    with closing(Stream(server.port, "POST", BASE, {"Tus-Resumable": "1.0.0", "Upload-Length": "5"})) as stream:
        assert stream.end() == 201


def test_a_creation_whose_stream_is_reset_keeps_its_prefix_and_is_not_complete(
    client: DraftClient, server: DraftServer
) -> None:
    before = set(server.directory.iterdir())
    stream = Stream(client.port, "POST", BASE, client.fields(client.last(True)))
    stream.send(BODY[:SENT])

    def created() -> list[str]:
        return [path.name for path in set(server.directory.iterdir()) - before if "." not in path.name]

    eventually(created)
    upload = f"{BASE}/{created()[0]}"
    with closing(stream):
        stream.reset()
        _is_resumed(client, server, upload)


def test_an_append_whose_stream_is_reset_keeps_its_prefix_and_is_not_complete(
    client: DraftClient, server: DraftServer
) -> None:
    upload = client.create()
    with closing(Stream(client.port, "PATCH", upload, client.fields(client.appending(0, True)))) as stream:
        stream.send(BODY[:SENT])
        stream.reset()
        _is_resumed(client, server, upload)


def _is_resumed(client: DraftClient, server: DraftServer, upload: str) -> None:
    eventually(lambda: server.stored(upload) == SENT)
    answer = client.head(upload)
    assert (answer.offset, client.says_complete(answer), server.ends(upload)) == (SENT, False, 0)
    assert client.append(upload, SENT, BODY[SENT:], last=True).status == 201
    assert client.get(upload).body == BODY
