"""docs/hooks.md against tusd itself, against what we send, and against hook.proto."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hooks.receivers import Exchange, GrpcReceiver, HttpReceiver, http_receiver
from tests.hooks.samples import event
from tests.hooks.uploads import SIZE, VERSION, served, tusd, upload_and_remove
from tuspy_server import Hooks
from tuspy_server.hooks.events import HOOK_TYPES
from tuspy_server.hooks.http import HttpHooks
from tuspy_server.hooks.payload import encode, wire_name
from tuspy_server.hooks.transport import storage_of
from tuspy_server.stores.file import FileStore

DOCS = Path(__file__).parents[2] / "docs" / "hooks.md"
TUSD_EVENTS = tuple(wire_name(name) for name in HOOK_TYPES if name != "pre_access")

ANSWER_FIELDS = {
    "HTTPResponse.StatusCode",
    "HTTPResponse.Body",
    "HTTPResponse.Header",
    "RejectUpload",
    "RejectTermination",
    "StopUpload",
    "ChangeFileInfo.ID",
    "ChangeFileInfo.MetaData",
    "ChangeFileInfo.Storage",
}
"""tusd v2's HookResponse; it cannot be captured."""

MAPS = ("Header", "MetaData", "ServerMetaData")


def table(heading: str) -> dict[str, tuple[str | None, str | None, str]]:
    """The rows of the table under a heading: tusd's name, ours and the remark, by either name."""
    section = re.split(r"^#+ ", DOCS.read_text(), flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(f"{heading}\n"))
    rows: dict[str, tuple[str | None, str | None, str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[:2] != ["tusd", "here"] and not cells[0].startswith("---"):
            theirs, ours = (None if cell == "none" else cell.replace("`", "") for cell in cells[:2])
            rows[ours or theirs or ""] = (theirs, ours, cells[-1])
    return rows


def names(heading: str) -> tuple[set[str], set[str]]:
    """tusd's names and ours, by the table under a heading."""
    rows = table(heading).values()
    return {theirs for theirs, _, _ in rows if theirs}, {ours for _, ours, _ in rows if ours}


def fields(payload: Any, prefix: str = "") -> set[str]:
    """The paths of a payload's fields; keys of maps are values, those of Storage are not."""
    found = set()
    for key, value in payload.items():
        path = f"{prefix}{key}"
        is_group = isinstance(value, dict) and key not in MAPS
        if not is_group or key == "Storage":
            found.add(path)
        if is_group:
            found |= fields(value, f"{path}.")
    return found


class Capture:
    """The first payload of each event of one upload's life, and its Location."""

    def __init__(self, receiver: HttpReceiver) -> None:
        self.receiver = receiver
        self.arrived = threading.Condition()
        self.payloads: dict[str, Any] = {}
        self.location = ""
        receiver.answer = self.answer

    def answer(self, exchange: Exchange) -> None:
        exchange.say()
        with self.arrived:
            self.payloads.setdefault(exchange.payload["Type"], exchange.payload)
            self.arrived.notify_all()

    def wait_for(self, name: str) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: name in self.payloads, 20), f"{name} did not arrive"


FILE_NAME = {"Upload-Metadata": "filename bmHDr3Zl"}
METADATA = {"Upload-Metadata": "filename bmHDr3ZlLnR4dA==,flag,undecodable /4A="}
FIELDS = {**METADATA, "X-Odd-NAME": "1", "X-Request-ID": "r1"}


def capture_upload(capture: Capture, url: str) -> Capture:
    capture.location = upload_and_remove(url, capture.wait_for, **FIELDS)
    return capture


def program() -> Path:
    """tusd's executable, on the PATH or in Go's bin directory."""
    found = shutil.which("tusd")
    if found is None and (go := shutil.which("go")):
        root = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
        found = shutil.which("tusd", path=os.path.join(root, "bin"))
    if found is None:
        pytest.skip("tusd is not installed")
    return Path(found)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capture]:
    executable, directory = program(), tmp_path_factory.mktemp("tusd")
    with (
        http_receiver() as receiver,
        tusd(executable, directory, "-hooks-http", receiver.url, events=TUSD_EVENTS) as (url, _),
    ):
        yield capture_upload(Capture(receiver), url)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capture]:
    with http_receiver() as receiver, ExitStack() as stack:

        def hooks(store: FileStore) -> Hooks:
            transport = HttpHooks(receiver.url, events=TUSD_EVENTS, describe_storage=storage_of(store))
            return Hooks(**stack.enter_context(transport).hooks())

        with served(tmp_path_factory.mktemp("ours"), hooks) as url:
            yield capture_upload(Capture(receiver), url)


def test_the_table_has_every_event_of_tusd_and_ours() -> None:
    assert names("The events") == (set(TUSD_EVENTS), {wire_name(name) for name in HOOK_TYPES})


def test_the_table_has_every_event_tusd_enables(tmp_path: Path) -> None:
    with tusd(program(), tmp_path, "-hooks-http", "http://127.0.0.1:1/") as (_, printed):
        (enabled,) = re.findall(r"Enabled hook events: (.*)", printed)
    assert set(enabled.split(", ")) == set(TUSD_EVENTS)


def test_the_table_has_every_field_tusd_sends(theirs: Capture) -> None:
    sent = set().union(*(fields(payload) for payload in theirs.payloads.values()))
    assert sent == names("Request fields")[0]


def test_the_table_has_every_field_we_send(ours: Capture) -> None:
    sent = set().union(*(fields(payload) for payload in ours.payloads.values()))
    assert sent == names("Request fields")[1]


@pytest.mark.parametrize("heading", ["Request fields", "Answer fields", "gRPC fields"])
def test_what_the_table_calls_same_has_the_same_name_and_the_rest_a_reason(heading: str) -> None:
    for theirs, ours, remark in table(heading).values():
        if theirs == ours:
            assert remark.startswith("same"), ours
        else:
            assert remark.startswith("ours") or len(remark.split()) > 3, ours


def test_the_table_has_every_answer_field() -> None:
    assert names("Answer fields") == (
        ANSWER_FIELDS,
        ANSWER_FIELDS | {"RejectAccess", "ChangeFileInfo.ServerMetaData"},
    )


def test_the_table_has_every_grpc_field_with_its_number(hook_pb2: Any) -> None:
    numbered = {
        f"{name}.{field.name} = {field.number}"
        for name, message in hook_pb2.DESCRIPTOR.message_types_by_name.items()
        for field in message.fields
    }
    assert names("gRPC fields")[1] == numbered


def test_a_receiver_built_from_our_proto_file_serves_tusd(grpc_hooks_server: GrpcReceiver, tmp_path: Path) -> None:
    def answer(request: Any, response: Any, context: Any) -> None:
        if "filename" not in request.event.upload.metaData:
            response.rejectUpload = True
            response.httpResponse.statusCode = 422
            response.httpResponse.header["X-A"] = "1"
            response.httpResponse.body = "no name"
        response.changeFileInfo.id = "chosen"
        response.changeFileInfo.metaData["a"] = "1"

    grpc_hooks_server.answer = answer
    with tusd(program(), tmp_path, "-hooks-grpc", grpc_hooks_server.target, events=["pre-create"]) as (url, _):
        refused = httpx.post(url, headers={**VERSION, "Upload-Length": "5"})
        created = httpx.post(url, headers={**VERSION, "Upload-Length": "5", **FILE_NAME})
        described = httpx.head(created.headers["Location"], headers=VERSION)
    assert (refused.status_code, refused.text, refused.headers["X-A"]) == (422, "no name", "1")
    assert created.headers["Location"] == f"{url}chosen"
    assert described.headers["Upload-Metadata"] == "a MQ=="
    upload, request = grpc_hooks_server.got[1].event.upload, grpc_hooks_server.got[1].event.httpRequest
    assert (upload.size, upload.sizeIsDeferred, upload.metaData["filename"]) == (5, False, "naïve")
    assert (request.method, request.uri, request.header["Upload-Length"]) == ("POST", "/files/", "5")


@pytest.mark.parametrize("name", TUSD_EVENTS)
def test_every_field_of_tusd_has_the_same_value_here(name: str, theirs: Capture, ours: Capture) -> None:
    expected, found = theirs.payloads[name], ours.payloads[name]
    assert comparable(found, ours) == comparable(expected, theirs)


def comparable(payload: Any, capture: Capture) -> Any:
    """A payload without what must differ: ids, addresses, directories; and without what only we send."""
    known = names("Request fields")[0]
    upload, request = payload["Event"]["Upload"], payload["Event"]["HTTPRequest"]
    upload = {key: value for key, value in upload.items() if f"Event.Upload.{key}" in known}
    upload_id = capture.location.rpartition("/")[2]
    if payload["Type"] == "post-receive":
        assert 0 < upload.pop("Offset") <= SIZE
    if upload["Storage"] is not None:
        storage = upload["Storage"]
        assert all(os.path.isabs(storage[key]) for key in ("Path", "InfoPath"))
        upload["Storage"] = {**storage, **{key: os.path.basename(storage[key]) for key in ("Path", "InfoPath")}}
    assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", request["RemoteAddr"])
    header = dict(request["Header"])
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", header.pop("Host")[0])
    compared = {
        "Type": payload["Type"],
        "Upload": upload,
        "Request": {"Method": request["Method"], "URI": request["URI"], "Header": header},
    }
    return json.loads(json.dumps(compared).replace(upload_id, "ID"))


def test_the_example_in_the_docs_has_exactly_our_fields() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    storage = {"type": "filestore", "path": "/a", "info_path": "/a.info"}
    assert fields(json.loads(example)) == fields(encode(event(), storage))


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL))
def test_the_code_in_the_docs_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hooks").mkdir()
    exec(compile(block.replace('"/etc/tus/hooks"', '"hooks"'), "docs/hooks.md", "exec"), {"__name__": "docs"})
