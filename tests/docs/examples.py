"""The programs of docs/examples: started by the command that each names, and used as a client does."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess
from tests.servers.running import ROOT
from tests.servers.wire import APPEND, Wire, WireAnswer, WireClient, eventually

EXAMPLES = ROOT / "docs" / "examples"
ORIGIN = {"Origin": "https://app.example", "Access-Control-Request-Method": "PATCH"}
BODY = os.urandom(1 << 20)
PART = 300_000
ENVIRON = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)]), "PYTHONDONTWRITEBYTECODE": "1"}


def command_of(name: str) -> list[str]:
    """The program's second paragraph says how it is started."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()))
    assert docstring is not None
    return shlex.split(docstring.split("\n\n")[1])


@dataclass
class Example:
    """A program that runs, in a directory of its own."""

    port: int
    directory: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> WireClient:
        return WireClient(self.port)

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> WireAnswer:
        return self.client.request(method, target, {**self.headers, **(headers or {})}, body)

    def create(self, length: int, **headers: str) -> str:
        """A new upload; returns the path of its URL, which is absolute and below /files/."""
        fields = {"Upload-Length": str(length)} | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.request("POST", "/files/", fields)
        assert answer.status == 201
        assert answer["location"].startswith(f"http://127.0.0.1:{self.port}/files/")
        return urlsplit(answer["location"]).path

    def begin_append(self, target: str, offset: int, size: int, body: bytes) -> Wire:
        wire = Wire(self.port)
        fields = {**APPEND, "Upload-Offset": str(offset), "Content-Length": str(size), **self.headers}
        wire.send_head("PATCH", target, fields)
        wire.send(body)
        return wire

    def resume(self, target: str, body: bytes = BODY) -> None:
        """Go on from where the server says; again where it comes to the request that was cut only then."""
        statuses: list[int] = []
        while {409, 423}.issuperset(statuses) and len(statuses) < 5:
            offset = self.request("HEAD", target).offset
            fields = {**APPEND, "Upload-Offset": str(offset)}
            statuses.append(self.request("PATCH", target, fields, body[offset:]).status)
        assert statuses[-1] == 204, statuses

    def upload(self, body: bytes = BODY, **headers: str) -> str:
        """A file whose first request is cut off by a reset, and whose second completes it."""
        target = self.create(len(body), **headers)
        wire = self.begin_append(target, 0, len(body), body[:PART])
        eventually(lambda: self.request("HEAD", target).status == 200)
        wire.reset()
        self.resume(target, body)
        return target

    def run(self, code: str) -> None:
        """Python in the program's directory."""
        subprocess.run([sys.executable, "-c", code], cwd=self.directory, env=os.environ | ENVIRON, check=True)


@contextmanager
def running_example(name: str) -> Iterator[Example]:
    program, *arguments = command_of(name)
    port = free_port()
    address = ["--port", str(port)] if program == "uvicorn" else ["--bind", f"127.0.0.1:{port}"]
    process = ServerProcess([sys.executable, "-m", program, *address, *arguments], port, environ=ENVIRON)
    try:
        process.wait_until_accepting()
        yield Example(port, process.directory)
    finally:
        process.stop()
