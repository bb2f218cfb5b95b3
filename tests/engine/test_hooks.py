"""Hooks and principals: what they see, change, refuse; in which order; what they never disturb."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tuspy_server import (
    Composer,
    Config,
    HookEvent,
    HookResult,
    Hooks,
    MemoryLocker,
    MemoryStore,
    RejectUpload,
    Request,
    Response,
    StopUpload,
)
from tuspy_server.hooks.events import HOOK_TYPES, Hook


def recording(events: list[HookEvent], colour: str) -> Hooks:
    def note(event: HookEvent) -> None:
        events.append(event)

    async def note_later(event: HookEvent) -> None:
        await anyio.lowlevel.checkpoint()
        events.append(event)

    hook: Hook = note if colour == "def" else note_later
    hooks = Hooks()
    for name in HOOK_TYPES:
        hooks |= Hooks(**{name: hook})  # type: ignore[arg-type]  # any hook but on_error
    return hooks


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_every_hook_of_an_uploads_life_runs_once_and_in_order(runner: Runner, colour: str) -> None:
    events: list[HookEvent] = []
    config = Config(post_receive_interval=0)
    client = EngineClient(hooks=recording(events, colour), config=config, runner=runner)
    upload = client.create(10, b"hello").id
    client.append(upload, 5, b"world")
    client.head(upload)
    client.delete(upload)
    assert [event.type for event in events] == [
        "pre_create",
        "post_create",
        "post_receive",
        "pre_access",
        "post_receive",
        "pre_finish",
        "post_finish",
        "pre_access",
        "pre_access",
        "pre_terminate",
        "post_terminate",
    ]
    assert {event.upload.id for event in events} == {upload}
    assert [event.upload.offset for event in events if event.type == "post_receive"] == [5, 10]


def test_delivery_ids_differ_by_hook_and_upload() -> None:
    events: list[HookEvent] = []
    client = EngineClient(hooks=recording(events, "def"))
    client.create(1, b"x")
    client.create(1, b"x")
    finals = [event for event in events if event.type in ("pre_finish", "post_finish")]
    assert len({event.delivery_id for event in finals}) == 4


def test_pre_create_may_change_id_metadata_and_storage(runner: Runner) -> None:
    def change(event: HookEvent) -> HookResult:
        assert event.upload.metadata == {"filename": "a.txt"}
        return HookResult(
            id="chosen",
            metadata={"filename": "b.txt"},
            server_metadata={"owner": "7"},
            storage={"path": "x"},
            response=Response(status=201, headers=(("X-Quota", "5"),)),
        )

    store = MemoryStore()
    client = EngineClient(store, hooks=Hooks(pre_create=change), runner=runner)
    answer = client.create(5, upload_metadata="filename YS50eHQ=")
    info = store.get("chosen")
    assert (answer.id, answer["x-quota"]) == ("chosen", "5")
    assert (info.metadata, info.server_metadata, info.storage) == (
        {"filename": "b.txt"},
        {"owner": "7"},
        {"path": "x"},
    )


def test_several_hooks_see_the_changes_of_those_before_them() -> None:
    first = Hooks(pre_create=lambda event: HookResult(metadata={"n": "1"}))
    second = Hooks(pre_create=lambda event: HookResult(metadata={**event.upload.metadata, "m": "2"}))
    store = MemoryStore()
    upload = EngineClient(store, hooks=first | second).create(5).id
    assert store.get(upload).metadata == {"n": "1", "m": "2"}


@pytest.mark.parametrize("chosen", ["../x", "a/b", "", "a b", "x" * 129, "a.info"])
def test_an_impossible_id_is_the_hooks_fault_and_creates_nothing(chosen: str) -> None:
    client = EngineClient(hooks=Hooks(pre_create=lambda event: HookResult(id=chosen)))
    answer = client.create(5)
    assert (answer.status, "location" in answer.headers) == (500, False)


@pytest.mark.parametrize("key", ["", "a b", "a,b", "a\r\nX: y", "größe", "\udcff"])
def test_an_impossible_metadata_key_is_the_hooks_fault_and_creates_nothing(key: str) -> None:
    told: list[HookEvent] = []
    hooks = Hooks(pre_create=lambda event: HookResult(metadata={key: "1"}), post_create=told.append)
    answer = EngineClient(hooks=hooks).create(5)
    assert (answer.status, "location" in answer.headers, told) == (500, False, [])


def refusing(*, body: bytes | None = b"no") -> Callable[[HookEvent], None]:
    def refuse(event: HookEvent) -> None:
        raise RejectUpload("not you", status=418, headers=(("X-Why", "tea"),), body=body)

    return refuse


def test_pre_create_refuses_with_any_answer_and_nothing_is_stored(runner: Runner) -> None:
    told: list[HookEvent] = []
    hooks = Hooks(pre_create=refusing(), post_create=told.append)
    answer = EngineClient(hooks=hooks, runner=runner).create(5, b"hello")
    assert (answer.status, answer.body, answer["x-why"], "location" in answer.headers) == (418, b"no", "tea", False)
    assert told == []


def test_a_refusal_without_a_body_says_its_reason() -> None:
    answer = EngineClient(hooks=Hooks(pre_create=refusing(body=None))).create(5)
    assert answer.body == b"ERR_UPLOAD_REJECTED: not you\n"


class CountingLocker(MemoryLocker):
    """Counts how often a lock was asked for."""

    asked = 0

    def try_lock(self, *args: object):  # type: ignore[no-untyped-def]
        self.asked += 1
        return super().try_lock(*args)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "GET", "DELETE"])
def test_pre_access_refuses_before_a_lock_is_asked_for(runner: Runner, method: str) -> None:
    locker = CountingLocker()
    composer = Composer(MemoryStore(), locker)
    upload = EngineClient(composer).create(10, b"hello").id
    asked = locker.asked
    client = EngineClient(composer, hooks=Hooks(pre_access=refusing()), runner=runner)
    answer = client.request(method, upload, {**APPEND, "Upload-Offset": "5"}, b"world" if method == "PATCH" else b"")
    assert answer.status == 418
    assert locker.asked == asked
    assert EngineClient(composer).head(upload).offset == 5


def test_pre_access_guards_each_part_of_a_final() -> None:
    composer = Composer(MemoryStore())
    part = EngineClient(composer).part(b"hello")
    client = EngineClient(composer, hooks=Hooks(pre_access=refusing()))
    assert client.final([part]).status == 418


def test_pre_terminate_keeps_the_upload(runner: Runner) -> None:
    told: list[HookEvent] = []
    client = EngineClient(hooks=Hooks(pre_terminate=refusing(), post_terminate=told.append), runner=runner)
    upload = client.create(5, b"hello").id
    assert client.delete(upload).status == 418
    assert client.get(upload).body == b"hello"
    assert told == []


def test_pre_terminate_may_answer() -> None:
    result = HookResult(response=Response(status=200, body=b"bye"))
    client = EngineClient(hooks=Hooks(pre_terminate=lambda event: result))
    answer = client.delete(client.create(5).id)
    assert (answer.status, answer.body) == (200, b"bye")


@pytest.mark.parametrize("terminate", [False, True])
def test_post_receive_may_stop_an_upload(runner: Runner, terminate: bool) -> None:
    def stop(event: HookEvent) -> None:
        raise StopUpload(Response(status=402, body=b"pay"), terminate=terminate)

    hooks = Hooks(post_receive=stop)
    client = EngineClient(hooks=hooks, config=Config(post_receive_interval=0), runner=runner)
    upload = client.create(10).id
    answer = client.append(upload, 0, b"hello")
    assert (answer.status, answer.body) == (402, b"pay")
    head = client.head(upload)
    assert head.status == (410 if terminate else 200)
    if not terminate:
        assert head.offset == 5


def test_a_stop_at_creation_answers_without_a_location() -> None:
    def stop(event: HookEvent) -> None:
        raise StopUpload

    client = EngineClient(hooks=Hooks(post_receive=stop), config=Config(post_receive_interval=0))
    answer = client.create(10, b"hello")
    assert (answer.status, "location" in answer.headers) == (400, False)


def test_post_receive_keeps_its_interval() -> None:
    events: list[HookEvent] = []
    client = EngineClient(hooks=Hooks(post_receive=events.append), config=Config(post_receive_interval=5))
    upload = client.create(10).id
    client.append(upload, 0, b"hello")
    assert events == []


def test_a_stop_elsewhere_changes_nothing(runner: Runner) -> None:
    def stop(event: HookEvent) -> None:
        raise StopUpload

    client = EngineClient(hooks=Hooks(post_create=stop, post_finish=stop), runner=runner)
    assert client.create(5, b"hello").status == 201


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_a_post_hook_that_hangs_is_left_behind(runner: Runner, colour: str, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    blocked = threading.Event()

    def hang(event: HookEvent) -> None:
        blocked.wait(10)

    async def hang_later(event: HookEvent) -> None:
        await anyio.sleep(10)

    hook: Hook = hang if colour == "def" else hang_later
    client = EngineClient(hooks=Hooks(post_create=hook), config=Config(hook_timeout=0.05), runner=runner)
    with caplog.at_level(logging.ERROR, "tuspy_server"):
        assert client.create(5).status == 201
    blocked.set()
    assert "hook post_create failed" in caplog.text


def test_on_error_sees_and_may_answer(runner: Runner) -> None:
    seen: list[Exception] = []

    def report(error: Exception, request: Request) -> Response | None:
        seen.append(error)
        return Response(status=599) if request.method == "PATCH" else None

    client = EngineClient(hooks=Hooks(on_error=report), runner=runner)
    assert client.append("nope", 0, b"x").status == 599
    assert client.head("nope").status == 404
    assert [type(error).__name__ for error in seen] == ["UploadNotFound", "UploadNotFound"]


def test_an_answer_of_on_error_is_laid_over_ours() -> None:
    def report(error: Exception, request: Request) -> Response:
        return Response(status=404, headers=(("X-Help", "https://help.example"),), body=b"gone?")

    answer = EngineClient(hooks=Hooks(on_error=report)).append("nope", 0, b"x")
    assert (answer.status, answer.body, answer["x-help"]) == (404, b"gone?", "https://help.example")
    assert (answer["tus-resumable"], answer["cache-control"]) == ("1.0.0", "no-store")


def by_header(request: Request) -> str | None:
    return request.header("x-user")


@pytest.mark.parametrize("other", ["bob", None])
def test_another_principals_upload_does_not_exist(runner: Runner, other: str | None) -> None:
    client = EngineClient(config=Config(principal=by_header), runner=runner)
    upload = client.create(10, b"hello", x_user="alice").id
    foreign = {} if other is None else {"X-User": other}
    for method in ("HEAD", "PATCH", "GET", "DELETE"):
        headers = {**APPEND, "Upload-Offset": "5", **foreign}
        assert client.request(method, upload, headers).status == 404
    assert client.append(upload, 5, b"world", x_user="alice").status == 204


def test_a_foreign_part_looks_like_an_unknown_one() -> None:
    client = EngineClient(config=Config(principal=by_header))
    part = client.create(5, b"hello", upload_concat="partial", x_user="alice").id
    assert client.final([part], x_user="bob").status == 404
    assert client.final([part], x_user="alice").status == 201


def test_hooks_know_the_principal() -> None:
    events: list[HookEvent] = []
    client = EngineClient(config=Config(principal=by_header), hooks=Hooks(pre_create=events.append))
    client.create(5, x_user="alice")
    assert (events[0].request.principal, events[0].upload.principal) == ("alice", "alice")
