"""The IETF's resumable uploads through the engine, under run_sync, asyncio and trio."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.client import Answer, EngineClient, FakeClock, Runner
from tests.protocol.drafts import PARTIAL, complete
from tuspy_server import Composer, Config, FileStore, HookResult, Hooks, MemoryStore, Request, Response, UploadInfo
from tuspy_server.engine import Buffered
from tuspy_server.engine.body import Body
from tuspy_server.errors import StoreUnavailable, TusError
from tuspy_server.protocol.problems import problem

DIGESTING = [6, 7, 8]
INVALIDATING = [7, 8, 9]


def ask(
    client: EngineClient,
    method: str,
    path: str,
    version: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | Body = b"",
    **options: int | None,
) -> Answer:
    fields = {"Upload-Draft-Interop-Version": str(version), **(headers or {})}
    return client.request(method, path, fields, body, version=None, **options)


def append(
    client: EngineClient,
    upload: str,
    version: int,
    offset: int,
    body: bytes | Body,
    *,
    last: bool,
    size: int | None = -1,
) -> Answer:
    fields = {"Content-Type": PARTIAL, "Upload-Offset": str(offset), **complete(version, last)}
    return ask(client, "PATCH", upload, version, fields, body, **({} if size == -1 else {"size": size}))


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@pytest.mark.parametrize("version", DIGESTING)
def test_an_upload_with_the_digest_it_was_created_with_completes(client: EngineClient, version: int) -> None:
    created = ask(client, "POST", "", version, {**complete(version, False), "Repr-Digest": digest(b"hello")}, b"hel")
    ended = append(client, created.id, version, 3, b"lo", last=True)
    assert (ended.status, ended["upload-complete"]) == (201, "?1")
    assert client.get(created.id).body == b"hello"


@pytest.mark.parametrize("version", DIGESTING)
def test_an_upload_with_another_digest_fails_for_good(client: EngineClient, version: int) -> None:
    created = ask(client, "POST", "", version, {**complete(version, False), "Repr-Digest": digest(b"hallo")}, b"hel")
    ended = append(client, created.id, version, 3, b"lo", last=True)
    assert 400 <= ended.status < 500
    assert ask(client, "HEAD", created.id, version).status >= 400
    again = append(client, created.id, version, 5, b"", last=True)
    assert 400 <= again.status < 500


@pytest.mark.parametrize("version", DIGESTING)
def test_a_wanted_digest_comes_with_the_final_answer(client: EngineClient, version: int) -> None:
    wish = {**complete(version, True), "Want-Repr-Digest": "sha-256=5"}
    answer = ask(client, "POST", "", version, wish, b"hello")
    assert (answer.status, answer["repr-digest"]) == (201, digest(b"hello"))


@pytest.mark.parametrize("version", [5, 8])
def test_a_get_of_an_open_upload_tells_the_offset(client: EngineClient, version: int) -> None:
    upload = ask(client, "POST", "", version, complete(version, False), b"hel").id
    answer = ask(client, "GET", upload, version)
    assert (answer.status, answer.offset, answer["upload-complete"]) == (204, 3, "?0")


@pytest.mark.parametrize("version", [5, 8])
def test_a_get_of_a_completed_upload_tells_its_state_and_its_bytes(client: EngineClient, version: int) -> None:
    upload = ask(client, "POST", "", version, complete(version, True), b"hello").id
    answer = ask(client, "GET", upload, version)
    assert (answer.status, answer.body, answer["upload-complete"]) == (200, b"hello", "?1")
    nothing = ask(client, "GET", upload, version, {"Range": "bytes=9-"})
    assert (nothing.status, nothing.body) == (416, nothing.reply.response.body)


class FinishesLater(MemoryStore):
    """Cannot finish an upload at the first attempt."""

    attempts = 0

    def finish(self, info: UploadInfo, /) -> None:
        self.attempts += 1
        if self.attempts == 1:
            raise StoreUnavailable("the store is away")
        super().finish(info)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_request_for_the_offset_takes_up_an_upload_that_could_not_end(runner: Runner, method: str) -> None:
    told: list[str] = []
    hooks = Hooks(post_finish=lambda event: told.append(event.upload.id))
    client = EngineClient(FinishesLater(), hooks=hooks, runner=runner)
    upload = ask(client, "POST", "", 8, {**complete(8, False), "Upload-Length": "5"}, b"hel").id
    assert append(client, upload, 8, 3, b"lo", last=True).status == 503
    client.clock.seconds += 60
    assert ask(client, method, upload, 8).status in (200, 204)
    assert told == [upload]
    assert client.get(upload).body == b"hello"


@pytest.mark.parametrize("version", INVALIDATING)
@pytest.mark.parametrize("size", [-1, None], ids=["announced", "chunked"])
@pytest.mark.parametrize("removes", [True, False], ids=["removed", "failed"])
def test_more_than_the_length_ends_an_upload_for_good(
    runner: Runner, version: int, size: int | None, removes: bool
) -> None:
    store = MemoryStore()
    composer = Composer(store) if removes else Composer(store, terminater=None)
    client = EngineClient(composer, runner=runner)
    upload = ask(client, "POST", "", version, {**complete(version, False), "Upload-Length": "5"}, b"hel").id
    refused = append(client, upload, version, 3, b"lovely", last=False, size=size)
    assert 400 <= refused.status < 500
    assert "upload-offset" not in refused.headers
    assert append(client, upload, version, 3, b"lo", last=True).status >= 400
    assert client.get(upload).status >= 400


@pytest.mark.parametrize("version", [5, 8])
def test_a_last_content_that_ends_before_the_length_completes_nothing(client: EngineClient, version: int) -> None:
    upload = ask(client, "POST", "", version, {**complete(version, False), "Upload-Length": "5"}, b"hel").id
    assert append(client, upload, version, 3, b"l", last=True, size=None).status == 400
    assert ask(client, "HEAD", upload, version)["upload-complete"] == "?0"


@dataclass
class SlowBody:
    """A body whose blocks take their time to arrive."""

    blocks: list[bytes]
    clock: FakeClock
    seconds: float

    async def read(self) -> Sequence[bytes] | None:
        self.clock.seconds += self.seconds
        return [self.blocks.pop(0)] if self.blocks else None

    def take(self) -> Sequence[bytes]:
        return []

    def interrupt(self, error: TusError, /) -> None:
        raise AssertionError("nobody asks for this upload")


@pytest.mark.parametrize("version", [5, 8])
def test_an_upload_is_announced_and_its_durable_bytes_are_told(runner: Runner, tmp_path: Path, version: int) -> None:
    client = EngineClient(FileStore(tmp_path), Config(interim_responses=True), runner=runner)
    body = SlowBody([b"hel", b"lo"], client.clock, 2)
    answer = ask(client, "POST", "", version, complete(version, True), body)
    assert answer.status == 201
    told = [{name.lower(): value for name, value in headers} for headers in client.informed]
    assert told[0]["location"] == answer["location"]
    assert [headers["upload-offset"] for headers in told[1:]] == ["3", "5"]


def test_progress_is_told_once_in_a_while(runner: Runner, tmp_path: Path) -> None:
    client = EngineClient(FileStore(tmp_path), Config(interim_responses=True), runner=runner)
    body = SlowBody([b"x"] * 8, client.clock, 0.25)
    assert ask(client, "POST", "", 8, complete(8, True), body).status == 201
    assert 1 <= len(client.informed) - 1 <= 2


@pytest.mark.parametrize("store", ["memory", "file"])
def test_nothing_is_told_before_the_answer_by_default(runner: Runner, tmp_path: Path, store: str) -> None:
    client = EngineClient(MemoryStore() if store == "memory" else FileStore(tmp_path), runner=runner)
    assert ask(client, "POST", "", 8, complete(8, True), SlowBody([b"x"] * 3, client.clock, 2)).status == 201
    assert not client.informed


def test_a_status_that_http_does_not_name_is_an_error_all_the_same() -> None:
    _, body = problem(TusError(), 460, ())
    assert b'"title": "Error"' in body


def test_a_version_without_progress_is_told_only_where_the_upload_is(runner: Runner, tmp_path: Path) -> None:
    client = EngineClient(FileStore(tmp_path), Config(interim_responses=True), runner=runner)
    answer = ask(client, "POST", "", 4, complete(4, True), SlowBody([b"hel", b"lo"], client.clock, 2))
    assert answer.status == 201
    assert [dict(headers).get("Location") for headers in client.informed] == [answer["location"]]


def by_header(request: Request) -> str | None:
    return request.header("x-user")


def test_a_refused_append_tells_the_owner_where_the_upload_stands_and_nobody_else(runner: Runner) -> None:
    client = EngineClient(config=Config(principal=by_header), runner=runner)
    upload = ask(client, "POST", "", 8, {**complete(8, False), "X-User": "ann"}, b"hel").id
    wrong = {"Content-Type": "text/plain", "Upload-Offset": "3", **complete(8, False)}
    owners = ask(client, "PATCH", upload, 8, {**wrong, "X-User": "ann"}, b"lo")
    strangers = ask(client, "PATCH", upload, 8, {**wrong, "X-User": "bob"}, b"lo")
    assert (owners.status, owners.offset) == (415, 3)
    assert (strangers.status, "upload-offset" in strangers.headers) == (415, False)


@pytest.mark.parametrize("field", ["x" * 10, "x" * 70_000], ids=["fields kept", "status kept"])
def test_of_an_answer_too_large_to_keep_the_beginning_is_given_again(runner: Runner, field: str) -> None:
    large = Response(status=200, headers=(("X-Long", field),), body=b"y" * 70_000)
    client = EngineClient(hooks=Hooks(pre_finish=lambda _: HookResult(response=large)), runner=runner)
    upload = ask(client, "POST", "", 8, {**complete(8, False), "Upload-Length": "5"}, b"hel").id
    assert len(append(client, upload, 8, 3, b"lo", last=True).body) == 70_000
    again = append(client, upload, 8, 5, b"", last=True)
    assert (again.status, again.body) == (200, b"")
    assert again.headers.get("x-long") == (field if len(field) == 10 else None)


def test_a_chunk_beyond_the_length_is_left_out(client: EngineClient) -> None:
    upload = ask(client, "POST", "", 5, {**complete(5, False), "Upload-Length": "5"}, b"hel").id
    assert append(client, upload, 5, 3, Buffered([b"", b"lo", b"ver"]), last=False, size=None).status >= 400
    assert ask(client, "HEAD", upload, 5).offset == 5
    assert append(client, upload, 5, 5, Buffered([b""]), last=True, size=None).status == 201
