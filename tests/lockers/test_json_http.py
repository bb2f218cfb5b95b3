"""The HTTP client of lockers against a server of this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers.ports import free_port
from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.json_http import JsonHttp


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peers: set[int]
    silent: threading.Event

    def log_message(self, format: str, *args: object) -> None: ...

    def do_POST(self) -> None:
        self.peers.add(self.client_address[1])
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/lines":
            self._lines()
        elif self.path == "/silence":
            self.silent.wait(10)
        elif self.path == "/garbage":
            self._answer(200, b"<html>")
        elif self.path == "/words":
            self._answer(404, b"Session id 'x' not found")
        elif self.path == "/hang-up":
            self._answer(200, b"{}")
            self.close_connection = True
        else:
            self._answer(int(self.path[1:]), body)

    do_GET = do_POST

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _lines(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for n in range(3):
            self.wfile.write(json.dumps({"n": n}).encode() + b"\n")
        self.wfile.flush()
        self.silent.wait(10)
        self.close_connection = True


class TestServer:
    __test__ = False

    def __init__(self) -> None:
        self.peers: set[int] = set()
        self.silent = threading.Event()
        handler = type("BoundHandler", (Handler,), {"peers": self.peers, "silent": self.silent})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.silent.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[TestServer]:
    server = TestServer()
    yield server
    server.stop()


@pytest.fixture
def http(server: TestServer) -> Iterator[JsonHttp]:
    http = JsonHttp([server.address], timeout=0.3, headers={"X-Token": "secret"})
    yield http
    http.close()


def test_a_connection_is_used_again(http: JsonHttp, server: TestServer) -> None:
    for n in range(5):
        assert http.call("POST", "/200", {"n": n}).body == {"n": n}
    assert len(server.peers) == 1


def test_a_connection_that_the_server_closed_is_replaced(http: JsonHttp, server: TestServer) -> None:
    http.call("POST", "/hang-up")
    assert http.call("POST", "/200", [1]).body == [1]
    assert len(server.peers) == 2


def test_the_answer_of_a_client_error_is_told(http: JsonHttp) -> None:
    answer = http.call("POST", "/409", {"why": "because"})
    assert (answer.status, answer.body) == (409, {"why": "because"})


def test_a_client_error_in_plain_words_is_an_answer_too(http: JsonHttp, server: TestServer) -> None:
    """Consul's to a session that is gone."""
    answer = http.call("POST", "/words")
    assert (answer.status, answer.body) == (404, None)
    http.call("POST", "/200", 1)
    assert len(server.peers) == 1


@pytest.mark.parametrize("target", ["/503", "/silence", "/garbage"])
def test_trouble_is_unavailability(http: JsonHttp, target: str) -> None:
    with pytest.raises(LockerUnavailable):
        http.call("POST", target)
    assert http.call("POST", "/200", 1).body == 1


def test_an_address_that_refuses_makes_way_for_the_next(server: TestServer) -> None:
    http = JsonHttp([f"http://127.0.0.1:{free_port()}", server.address], timeout=1.0)
    assert http.call("GET", "/200").status == 200
    http.close()


def test_no_address_that_answers_is_unavailability() -> None:
    http = JsonHttp([f"http://127.0.0.1:{free_port()}"], timeout=1.0)
    with pytest.raises(LockerUnavailable):
        http.call("GET", "/200")


def test_lines_come_one_by_one_until_silence(http: JsonHttp) -> None:
    assert list(http.stream("/lines", {}, timeout=0.2)) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_broken_stream_is_unavailability(http: JsonHttp) -> None:
    with pytest.raises(LockerUnavailable):
        list(http.stream("/garbage", {}, timeout=1.0))


@pytest.mark.parametrize("address", ["localhost:2379", "ftp://localhost", "http://", "http://localhost/path"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL without a path"):
        JsonHttp([address], timeout=1.0)


def test_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="no address"):
        JsonHttp([], timeout=1.0)
