"""Each transport in front of a real receiver and behind a real server: refusals, and a whole upload in order."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hooks.receivers import Exchange, grpc_receiver, http_receiver
from tests.hooks.uploads import APPEND, PIECES, SIZE, VERSION, served, upload_and_remove
from tuspy_server import Hooks
from tuspy_server.hooks.command import CommandHooks
from tuspy_server.hooks.events import HOOK_TYPES
from tuspy_server.hooks.http import HttpHooks
from tuspy_server.hooks.plugin import PluginHooks
from tuspy_server.hooks.transport import storage_of
from tuspy_server.stores.file import FileStore

FILE_NAME = {"Upload-Metadata": "filename YS50eHQ="}
REFUSAL = "name your file"


class Receiver(ABC):
    """Refuses creations without a file name and access with X-Stranger, and remembers what it was told."""

    @abstractmethod
    def hooks(self, store: FileStore) -> Hooks: ...

    @property
    @abstractmethod
    def told(self) -> list[str]:
        """Lines "event id offset path", in order."""

    def wait_for(self, event: str) -> None:
        deadline = time.monotonic() + 20
        while not any(line.startswith(f"{event} ") for line in self.told):
            assert time.monotonic() < deadline, f"{event} was not told: {self.told}"
            time.sleep(0.01)


class HttpEndpoint(Receiver):
    def __init__(self, stack: ExitStack) -> None:
        self.lines: list[str] = []
        self.stack = stack
        self.server = stack.enter_context(http_receiver())
        self.server.answer = self.answer

    def hooks(self, store: FileStore) -> Hooks:
        transport = HttpHooks(self.server.url, events=HOOK_TYPES, describe_storage=storage_of(store))
        return Hooks(**self.stack.enter_context(transport).hooks())

    @property
    def told(self) -> list[str]:
        return list(self.lines)

    def answer(self, exchange: Exchange) -> None:
        event, upload = exchange.payload["Type"], exchange.payload["Event"]["Upload"]
        path = (upload["Storage"] or {}).get("Path")
        self.lines.append(f"{event} {upload['ID']} {upload['Offset']} {path}")
        if event == "pre-create" and "filename" not in upload["MetaData"]:
            exchange.say(RejectUpload=True, HTTPResponse={"StatusCode": 422, "Body": REFUSAL})
        if event == "pre-access" and "X-Stranger" in exchange.payload["Event"]["HTTPRequest"]["Header"]:
            exchange.say(RejectAccess=True)


class GrpcService(Receiver):
    def __init__(self, stack: ExitStack, messages: Any) -> None:
        self.lines: list[str] = []
        self.stack = stack
        self.server = stack.enter_context(grpc_receiver(messages))
        self.server.answer = self.answer

    def hooks(self, store: FileStore) -> Hooks:
        from tuspy_server.hooks.grpc import GrpcHooks

        transport = GrpcHooks(self.server.target, events=HOOK_TYPES, describe_storage=storage_of(store))
        return Hooks(**self.stack.enter_context(transport).hooks())

    @property
    def told(self) -> list[str]:
        return list(self.lines)

    def answer(self, request: Any, response: Any, context: Any) -> None:
        upload = request.event.upload
        self.lines.append(f"{request.type} {upload.id} {upload.offset} {upload.storage.get('Path')}")
        if request.type == "pre-create" and "filename" not in upload.metaData:
            response.rejectUpload = True
            response.httpResponse.statusCode = 422
            response.httpResponse.body = REFUSAL
        if request.type == "pre-access" and "X-Stranger" in request.event.httpRequest.header:
            response.rejectAccess = True


PYTHON = f"""#!{sys.executable}
import json, os, sys
payload = json.load(sys.stdin)
event, upload = payload["Type"], payload["Event"]["Upload"]
path = (upload["Storage"] or {{}}).get("Path")
with open("told", "a") as log:
    log.write(f"{{event}} {{upload['ID']}} {{upload['Offset']}} {{path}}\\n")
if event == "pre-create" and "filename" not in upload["MetaData"]:
    print(json.dumps({{"RejectUpload": True, "HTTPResponse": {{"StatusCode": 422, "Body": "{REFUSAL}"}}}}))
if event == "pre-access" and "X-Stranger" in payload["Event"]["HTTPRequest"]["Header"]:
    print(json.dumps({{"RejectAccess": True}}))
"""

SHELL = f"""#!/bin/sh
payload=$(cat)
path=$(printf %s "$payload" | sed -n 's/.*"Path": "\\([^"]*\\)".*/\\1/p')
echo "${{0##*/}} $TUS_ID $TUS_OFFSET ${{path:-None}}" >> told
case "$0 $payload" in
  */pre-create*'"filename":'*) ;;
  */pre-create*) echo '{{"RejectUpload": true, "HTTPResponse": {{"StatusCode": 422, "Body": "{REFUSAL}"}}}}' ;;
  */pre-access*'"X-Stranger":'*) echo '{{"RejectAccess": true}}' ;;
esac
"""


class Executables(Receiver):
    def __init__(self, directory: Path, script: str) -> None:
        self.directory = directory
        self.directory.mkdir()
        (self.directory / "told").touch()
        for name in HOOK_TYPES:
            path = self.directory / name.replace("_", "-")
            path.write_text(script)
            path.chmod(0o755)

    def hooks(self, store: FileStore) -> Hooks:
        transport = CommandHooks(self.directory, events=HOOK_TYPES, describe_storage=storage_of(store))
        return Hooks(**transport.hooks())

    @property
    def told(self) -> list[str]:
        return (self.directory / "told").read_text().splitlines()


class Plugin(Receiver):
    """Its own plugin: the methods below are what PluginHooks finds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def hooks(self, store: FileStore) -> Hooks:
        global plugin
        plugin = _PluginObject(self.lines, store)
        return Hooks(**PluginHooks(f"{__name__}:plugin").hooks())

    @property
    def told(self) -> list[str]:
        return list(self.lines)


class _PluginObject:
    def __init__(self, lines: list[str], store: FileStore) -> None:
        for name in HOOK_TYPES:
            setattr(self, name, self.told_of(name.replace("_", "-"), lines, store))

    def told_of(self, name: str, lines: list[str], store: FileStore) -> Callable[[Any], None]:
        from tuspy_server import RejectUpload

        def hook(event: Any) -> None:
            is_new = name == "pre-create"
            upload = event.upload
            path = None if is_new else store.path(upload)
            lines.append(f"{name} {'' if is_new else upload.id} {upload.offset} {path}")
            if is_new and "filename" not in upload.metadata:
                raise RejectUpload(status=422, body=REFUSAL.encode())
            if name == "pre-access" and event.request.header("x-stranger"):
                raise RejectUpload(status=403)

        return hook


plugin: _PluginObject


@pytest.fixture(params=["http", "grpc", "python executables", "shell executables", "plugin"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    with ExitStack() as stack:
        match request.param:
            case "http":
                yield HttpEndpoint(stack)
            case "grpc":
                yield GrpcService(stack, request.getfixturevalue("hook_pb2"))
            case "plugin":
                yield Plugin()
            case kind:
                if sys.platform == "win32":
                    pytest.skip("needs executable scripts")
                yield Executables(tmp_path / "hooks", PYTHON if kind.startswith("python") else SHELL)


@pytest.fixture
def url(receiver: Receiver, tmp_path: Path) -> Iterator[str]:
    with served(tmp_path / "uploads", receiver.hooks) as url:
        yield url


def test_a_creation_is_refused_and_stores_nothing(receiver: Receiver, url: str, tmp_path: Path) -> None:
    answer = httpx.post(url, headers={**VERSION, "Upload-Length": "5"})
    assert (answer.status_code, answer.text) == (422, REFUSAL)
    assert receiver.told == ["pre-create  0 None"]
    assert not list((tmp_path / "uploads").glob("*.info"))


def test_a_whole_upload_is_told_in_order(receiver: Receiver, url: str, tmp_path: Path) -> None:
    upload_id = upload_and_remove(url, receiver.wait_for, **FILE_NAME).rpartition("/")[2]
    path = tmp_path / "uploads" / upload_id
    lines = [line for line in receiver.told if not line.startswith("post-receive ")]
    assert lines == [
        "pre-create  0 None",
        f"post-create {upload_id} 0 {path}",
        f"pre-access {upload_id} 0 {path}",
        f"pre-finish {upload_id} {SIZE} {path}",
        f"post-finish {upload_id} {SIZE} {path}",
        f"pre-access {upload_id} {SIZE} {path}",
        f"pre-terminate {upload_id} {SIZE} {path}",
        f"post-terminate {upload_id} {SIZE} {path}",
    ]
    events = [name for name, _ in groupby(line.split()[0] for line in receiver.told)]
    assert events[2:5] == ["pre-access", "post-receive", "pre-finish"]


def test_a_stranger_is_refused_and_interrupts_nobody(receiver: Receiver, url: str) -> None:
    """HEAD, PATCH, GET and DELETE would each ask a running append to let go, were they let in."""
    answers: list[int] = []

    def body() -> Iterator[bytes]:
        yield PIECES[0]
        receiver.wait_for("post-receive")
        fields = {"Upload-Offset": "5", "Content-Type": "application/offset+octet-stream", "X-Stranger": "1"}
        for method in ("HEAD", "PATCH", "GET", "DELETE"):
            answers.append(httpx.request(method, location, headers={**VERSION, **fields}).status_code)
        yield PIECES[1]

    with httpx.Client(headers=VERSION) as client:
        location = client.post(url, headers={"Upload-Length": str(SIZE), **FILE_NAME}).headers["Location"]
        appended = client.patch(location, headers=APPEND, content=body())
        assert (answers, appended.status_code) == ([403] * 4, 204)
        assert client.get(location).content == b"".join(PIECES)


@pytest.mark.parametrize("removed", [True, False])
def test_a_hook_s_failure_is_not_told_to_the_client(removed: bool, tmp_path: Path) -> None:
    """A pre hook's is a 500 with a fixed text, a post hook's changes nothing."""
    with http_receiver() as receiver, HttpHooks(receiver.url, events=["pre-create", "post-create"]) as transport:

        def answer(exchange: Exchange) -> None:
            exchange.status, exchange.answer = 418, b"a secret of the receiver"
            if removed and exchange.payload["Type"] == "pre-create":
                exchange.status, exchange.answer = 204, b""

        receiver.answer = answer
        with served(tmp_path, lambda store: Hooks(**transport.hooks())) as url:
            created = httpx.post(url, headers={**VERSION, "Upload-Length": "5"})
    assert created.status_code == (201 if removed else 500)
    assert "secret" not in created.text


def test_a_stopped_upload_is_answered_by_the_hook_and_removed(tmp_path: Path) -> None:
    told: list[str] = []

    def answer(exchange: Exchange) -> None:
        told.append(exchange.payload["Type"])
        if told[-1] == "post-receive":
            exchange.say(StopUpload=True, HTTPResponse={"StatusCode": 413, "Body": "enough", "Header": {"X-A": "1"}})

    def body() -> Iterator[bytes]:
        yield PIECES[0]
        deadline = time.monotonic() + 20
        while "post-receive" not in told:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield PIECES[1]

    with http_receiver() as receiver, HttpHooks(receiver.url) as transport:
        receiver.answer = answer
        with served(tmp_path, lambda store: Hooks(**transport.hooks())) as url, httpx.Client(headers=VERSION) as client:
            location = client.post(url, headers={"Upload-Length": str(SIZE)}).headers["Location"]
            stopped = client.patch(location, headers=APPEND, content=body())
            gone = client.head(location)
    assert (stopped.status_code, stopped.text, stopped.headers["X-A"]) == (413, "enough", "1")
    assert gone.status_code == 410


def test_a_creation_is_changed_in_every_field(tmp_path: Path) -> None:
    changes = {
        "ID": "chosen",
        "MetaData": {"a": "1"},
        "Storage": {"Path": "in/a/folder.bin"},
        "ServerMetaData": {"hidden": "yes"},
    }
    with http_receiver() as receiver, HttpHooks(receiver.url, events=["pre-create", "post-create"]) as transport:
        receiver.answer = lambda exchange: exchange.say(
            ChangeFileInfo=changes, HTTPResponse={"Header": {"X-A": "1"}, "Body": "made"}
        )
        with served(tmp_path, lambda store: Hooks(**transport.hooks())) as url:
            created = httpx.post(url, headers={**VERSION, "Upload-Length": "0", **FILE_NAME})
    assert (created.status_code, created.text, created.headers["X-A"]) == (201, "made", "1")
    assert created.headers["Location"] == f"{url}chosen"
    assert (tmp_path / "in" / "a" / "folder.bin").exists()
    assert receiver.got[1].payload["Event"]["Upload"]["ServerMetaData"] == {"hidden": "yes"}
    assert receiver.got[1].payload["Event"]["Upload"]["MetaData"] == {"a": "1"}


def test_changed_metadata_is_what_head_tells(tmp_path: Path) -> None:
    with http_receiver() as receiver, HttpHooks(receiver.url, events=["pre-create"]) as transport:
        receiver.answer = lambda exchange: exchange.say(ChangeFileInfo={"ID": "chosen", "MetaData": {"a": "1"}})
        with served(tmp_path, lambda store: Hooks(**transport.hooks())) as url:
            httpx.post(url, headers={**VERSION, "Upload-Length": "0", **FILE_NAME})
            described = httpx.head(f"{url}chosen", headers=VERSION)
    assert described.headers["Upload-Metadata"] == "a MQ=="
