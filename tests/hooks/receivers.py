"""Real hook receivers: an HTTP server and a gRPC server built from hook.proto, both in threads."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@dataclass
class Exchange:
    """One request a receiver got; the handler fills in the answer. `raw` is sent instead of a whole answer."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 200
    answer: bytes = b""
    answer_headers: dict[str, str] = field(default_factory=dict)
    raw: list[bytes] | None = None
    between: Callable[[], object] = lambda: None

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    def say(self, **answer: object) -> None:
        self.answer = json.dumps(answer).encode()
        self.answer_headers = {"Content-Type": "application/json"}


@dataclass
class HttpReceiver:
    """What the server got, in order, and how it answers."""

    url: str
    answer: Callable[[Exchange], None] = lambda exchange: None
    got: list[Exchange] = field(default_factory=list)


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            exchange = Exchange(path=self.path, headers={k.lower(): v for k, v in self.headers.items()}, body=body)
            receiver.got.append(exchange)
            receiver.answer(exchange)
            if exchange.raw is not None:
                self._send_raw(exchange, exchange.raw)
                return
            self.send_response(exchange.status)
            for name, value in exchange.answer_headers.items():
                self.send_header(name, value)
            if exchange.status != 204:
                self.send_header("Content-Length", str(len(exchange.answer)))
            self.end_headers()
            self.wfile.write(exchange.answer)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_raw(self, exchange: Exchange, pieces: list[bytes]) -> None:
            self.close_connection = True
            try:
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    exchange.between()
            except OSError:
                pass  # the client gave up, as the test wants

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = HttpReceiver(url=f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def compiled_proto(into: Path) -> ModuleType:
    """The module that protoc makes of hook.proto, the way a receiver's author would get it."""
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")
    name = "receiver_hook_pb2"
    if name not in sys.modules:
        (into / "receiver_hook.proto").write_text(files("tuspy_server.hooks").joinpath("hook.proto").read_text())
        include = str(files("grpc_tools").joinpath("_proto"))
        code = protoc.main(["protoc", f"-I{into}", f"-I{include}", f"--python_out={into}", "receiver_hook.proto"])
        assert code == 0
        sys.path.insert(0, str(into))
        try:
            importlib.import_module(name)
        finally:
            sys.path.remove(str(into))
    return sys.modules[name]


@dataclass
class GrpcReceiver:
    """What the service got, in order, and how it answers. `answer` gets the request, an empty response and the
    call's context."""

    target: str
    answer: Callable[[Any, Any, Any], None] = lambda request, response, context: None
    got: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def grpc_receiver(messages: Any, credentials: Any = None) -> Iterator[GrpcReceiver]:
    import grpc

    def invoke(request: Any, context: Any) -> Any:
        receiver.got.append(request)
        receiver.metadata.append({key: value for key, value in context.invocation_metadata()})
        response = messages.HookResponse()
        receiver.answer(request, response, context)
        return response

    method = grpc.unary_unary_rpc_method_handler(
        invoke,
        request_deserializer=messages.HookRequest.FromString,
        response_serializer=messages.HookResponse.SerializeToString,
    )
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("proto.HookHandler", {"InvokeHook": method}),)
        )
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        receiver = GrpcReceiver(target=f"127.0.0.1:{port}")
        server.start()
        try:
            yield receiver
        finally:
            server.stop(None).wait()
