from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.hooks.receivers import Exchange, HttpReceiver
from tests.hooks.samples import REQUEST, event
from tuspy_server.errors import RejectUpload
from tuspy_server.hooks.http import HttpHooks
from tuspy_server.hooks.payload import HookFailed, encode
from tuspy_server.models import HookResult

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def hooks(receiver: HttpReceiver, **options: Any) -> HttpHooks:
    return HttpHooks(receiver.url, **{"backoff": 0.01, "timeout": 10, **options})


def test_the_receiver_gets_the_payload_and_its_answer_counts(http_hooks_server: HttpReceiver) -> None:
    http_hooks_server.answer = lambda exchange: exchange.say(ChangeFileInfo={"ID": "chosen"})
    with hooks(http_hooks_server) as transport:
        created = event("pre_create")
        assert transport.hooks()["pre_create"](created) == HookResult(id="chosen")
    (got,) = http_hooks_server.got
    assert got.payload == encode(created)
    assert got.headers["content-type"] == "application/json"
    assert got.path == "/hook"


def test_a_refusal_reaches_the_client(http_hooks_server: HttpReceiver) -> None:
    http_hooks_server.answer = lambda exchange: exchange.say(RejectUpload=True, HTTPResponse={"StatusCode": 418})
    with hooks(http_hooks_server) as transport, pytest.raises(RejectUpload) as refusal:
        transport.invoke(event("pre_create"))
    assert refusal.value.answer_status == 418


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("body", [b"", b" \n"])
def test_empty_answers_are_accepted(http_hooks_server: HttpReceiver, status: int, body: bytes) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status = status
        exchange.answer = b"" if status == 204 else body

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport:
        assert transport.invoke(event("pre_create")) is None


def test_an_answer_needs_no_content_type(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.answer = b'{"ChangeFileInfo": {"ID": "a"}}'

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport:
        assert transport.invoke(event("pre_create")) == HookResult(id="a")


def test_server_errors_are_tried_again_with_the_same_key(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status = 200 if len(http_hooks_server.got) == 3 else 503

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport:
        assert transport.invoke(event("post_finish")) is None
    assert [got.headers["idempotency-key"] for got in http_hooks_server.got] == ["24e533e0-post_finish"] * 3


def test_retries_counts_all_attempts(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status, exchange.answer = 500, b"trouble"

    http_hooks_server.answer = answer
    with (
        hooks(http_hooks_server, retries=2) as transport,
        pytest.raises(HookFailed, match=r"unexpected response code from hook endpoint \(500\): trouble"),
    ):
        transport.invoke(event())
    assert len(http_hooks_server.got) == 2


@pytest.mark.parametrize("status", [400, 404, 429])
def test_client_errors_are_not_tried_again(http_hooks_server: HttpReceiver, status: int) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status = status

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport, pytest.raises(HookFailed, match=str(status)):
        transport.invoke(event())
    assert len(http_hooks_server.got) == 1


def test_a_broken_connection_is_tried_again(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.raw = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] if len(http_hooks_server.got) == 1 else None

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport:
        assert transport.invoke(event()) is None
    assert len(http_hooks_server.got) == 2


def test_nobody_listening_is_a_failure_that_says_so(http_hooks_server: HttpReceiver) -> None:
    with (
        HttpHooks("http://user:secret@127.0.0.1:1/hook", retries=1) as transport,
        pytest.raises(HookFailed, match="cannot be reached: ConnectError") as failure,
    ):
        transport.invoke(event())
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b""], id="silent"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", *[b"X-A: 1\r\n"] * 500], id="dripping headers"),
        pytest.param([HEAD + b"Content-Length: 4000\r\n\r\n", *[b" "] * 4000], id="dripping body"),
    ],
)
def test_the_timeout_bounds_the_whole_event(http_hooks_server: HttpReceiver, pieces: list[bytes]) -> None:
    over = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.raw = pieces
        exchange.between = lambda: over.wait(0.05 if len(pieces) > 1 else 30)

    http_hooks_server.answer = answer
    started = time.monotonic()
    with hooks(http_hooks_server, timeout=0.5) as transport, pytest.raises(HookFailed, match=r"within 0.5 seconds"):
        transport.invoke(event())
    over.set()
    assert time.monotonic() - started < 5
    assert len(http_hooks_server.got) == 1


def test_waits_count_towards_the_timeout(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status = 503

    http_hooks_server.answer = answer
    with hooks(http_hooks_server, timeout=0.3, backoff=60) as transport, pytest.raises(HookFailed):
        transport.invoke(event())
    assert len(http_hooks_server.got) == 1


def test_an_answer_above_the_limit_is_a_failure_and_is_not_read_on(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.answer = b" " * 101

    http_hooks_server.answer = answer
    with (
        hooks(http_hooks_server, size_limit=100) as transport,
        pytest.raises(HookFailed, match="maximum size of 100 bytes"),
    ):
        transport.invoke(event())
    http_hooks_server.answer = lambda exchange: setattr(exchange, "answer", b" " * 100)
    with hooks(http_hooks_server, size_limit=100) as transport:
        assert transport.invoke(event()) is None


def test_compressed_answers_are_not_unpacked(http_hooks_server: HttpReceiver) -> None:
    with hooks(http_hooks_server) as transport:
        transport.invoke(event())
    assert http_hooks_server.got[0].headers["accept-encoding"] == "identity"


def test_an_answer_that_is_no_json_is_quoted(http_hooks_server: HttpReceiver) -> None:
    http_hooks_server.answer = lambda exchange: setattr(exchange, "answer", b"<html>")
    with hooks(http_hooks_server) as transport, pytest.raises(HookFailed, match="response was: <html>"):
        transport.invoke(event())


def test_configured_fields_are_forwarded_with_all_values_under_the_configured_spelling(
    http_hooks_server: HttpReceiver,
) -> None:
    with hooks(http_hooks_server, forward_headers="COOKIE, x-name,absent") as transport:
        transport.invoke(event())
    (got,) = http_hooks_server.got
    assert got.headers["cookie"] == "b=2"  # http.server keeps the last line of a name
    assert got.headers["x-name"].encode("latin-1") == "naïve".encode()
    assert "absent" not in got.headers
    assert "tus-resumable" not in got.headers


@pytest.mark.parametrize("name", ["Content-Length", "host", "Transfer-Encoding"])
def test_fields_that_describe_the_connection_cannot_be_forwarded(name: str) -> None:
    with pytest.raises(ValueError, match=f"the field {name} cannot be forwarded"):
        HttpHooks("http://127.0.0.1/", forward_headers=[name])


def test_the_idempotency_key_is_the_delivery_id(http_hooks_server: HttpReceiver) -> None:
    told = event("post_receive", offset=1)
    with hooks(http_hooks_server) as transport:
        transport.invoke(told)
    assert http_hooks_server.got[0].headers["idempotency-key"] == told.delivery_id


def test_redirects_are_followed_and_keep_the_payload(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.path == "/hook":
            exchange.status, exchange.answer_headers = 307, {"Location": "/other"}

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport:
        transport.invoke(event())
    assert [(got.path, bool(got.body)) for got in http_hooks_server.got] == [("/hook", True), ("/other", True)]


def test_endless_redirects_end(http_hooks_server: HttpReceiver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status, exchange.answer_headers = 308, {"Location": "/hook"}

    http_hooks_server.answer = answer
    with hooks(http_hooks_server) as transport, pytest.raises(HookFailed, match="redirected more than 10 times"):
        transport.invoke(event())


@pytest.mark.parametrize("url", ["/hook", "ftp://h/", "http://", "localhost:8000"])
def test_only_http_urls_are_endpoints(url: str) -> None:
    with pytest.raises(ValueError, match="not an absolute http or https URL"):
        HttpHooks(url)


def test_many_threads_share_one_transport(http_hooks_server: HttpReceiver) -> None:
    http_hooks_server.answer = lambda exchange: exchange.say(ChangeFileInfo={"ID": exchange.payload["DeliveryID"]})
    found: list[object] = []
    with hooks(http_hooks_server) as transport:
        ids = [f"{number:08d}" for number in range(24)]

        def ask(upload_id: str) -> None:
            result = transport.invoke(event("pre_create", id=upload_id))
            found.append(result is not None and result.id == f"{upload_id}-pre_create")

        threads = [threading.Thread(target=ask, args=(upload_id,)) for upload_id in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 24


def test_a_closed_transport_starts_again_and_a_process_may_end_without_closing(
    http_hooks_server: HttpReceiver,
) -> None:
    transport = hooks(http_hooks_server)
    transport.close()
    transport.invoke(event())
    transport.close()
    transport.close()
    program = (
        "import sys; from tests.hooks.samples import event; from tuspy_server.hooks.http import HttpHooks;"
        "HttpHooks(sys.argv[1]).invoke(event())"
    )
    subprocess.run([sys.executable, "-c", program, http_hooks_server.url], check=True, timeout=60)
    assert len(http_hooks_server.got) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_a_forked_worker_has_connections_of_its_own(http_hooks_server: HttpReceiver) -> None:
    program = """
import os, sys
from tests.hooks.samples import event
from tuspy_server.hooks.http import HttpHooks
hooks = HttpHooks(sys.argv[1])
hooks.invoke(event("post_create"))
child = os.fork()
hooks.invoke(event("post_finish"))
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, http_hooks_server.url], check=True, timeout=60)
    assert len(http_hooks_server.got) == 3


def test_only_enabled_events_have_hooks(http_hooks_server: HttpReceiver) -> None:
    with hooks(http_hooks_server, events=["pre-create", "post-finish"]) as transport:
        assert list(transport.hooks()) == ["pre_create", "post_finish"]


def test_where_the_bytes_lie_can_be_described(http_hooks_server: HttpReceiver) -> None:
    with hooks(
        http_hooks_server, describe_storage=lambda info: {"type": "filestore", "path": f"/x/{info.id}"}
    ) as transport:
        transport.invoke(event(request=replace(REQUEST, headers=())))
    upload = json.loads(http_hooks_server.got[0].body)["Event"]["Upload"]
    assert upload["Storage"] == {"Path": f"/x/{upload['ID']}", "Type": "filestore"}
