"""The end of an upload: its order, and a crash at every step of it (design, "State that cannot lie")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engine.client import EngineClient, Runner
from tuspy_server import Config, FileStore, HookEvent, HookResult, Hooks, MemoryStore, RejectUpload, Response, State
from tuspy_server.errors import StoreUnavailable, SyncFailed
from tuspy_server.models import UploadInfo


class Crash(BaseException):
    """The process died here: nothing below may catch it."""


class Steps(MemoryStore):
    """Records the steps of the end, and dies before or after one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.die_at: int | None = None

    def step(self, name: str) -> None:
        self.steps.append(name)
        if self.die_at is not None and len(self.steps) > self.die_at:
            self.die_at = None
            raise Crash

    def update(self, info: UploadInfo, /) -> UploadInfo:
        self.step(f"{info.state.name}{'+owed' if info.undelivered else ''}")
        updated = super().update(info)
        self.step("updated")
        return updated

    def finish(self, info: UploadInfo, /) -> None:
        self.step("finish")
        super().finish(info)
        self.step("finished")


def told(store: Steps, events: list[HookEvent], client: EngineClient) -> Hooks:
    def pre(event: HookEvent) -> HookResult:
        store.step("pre_finish")
        return HookResult(response=Response(status=200, body=b"thanks"))

    def post(event: HookEvent) -> None:
        store.step("post_finish")
        events.append(event)

    return Hooks(pre_finish=pre, post_finish=post)


def prepared(runner: Runner = "run_sync") -> tuple[EngineClient, Steps, list[HookEvent]]:
    store, events = Steps(), []  # type: tuple[Steps, list[HookEvent]]
    client = EngineClient(store, runner=runner)
    client.hooks = told(store, events, client)
    client.restart()
    return client, store, events


def test_the_end_has_this_order(runner: Runner) -> None:
    client, store, events = prepared(runner)
    answer = client.create(5, b"hello")
    assert [step for step in store.steps if step not in ("updated", "finished")] == [
        "FINISHING",
        "finish",
        "pre_finish",
        "COMPLETE+owed",
        "post_finish",
        "COMPLETE",
    ]
    assert (answer.status, answer.body, len(events)) == (200, b"thanks", 1)


@pytest.mark.parametrize("die_at", range(12))
@pytest.mark.parametrize("how", ["head", "append", "sweep"])
def test_a_crash_at_any_step_of_the_end_is_made_good(die_at: int, how: str) -> None:
    client, store, events = prepared()
    client.config = Config(expires_after=3600)
    client.restart()
    upload = client.create(5, b"hell").id
    store.steps.clear()
    store.die_at = die_at
    try:
        client.append(upload, 4, b"o")
    except Crash:
        client.composer.locker = type(client.composer.locker)()
        client.restart()
    if how == "head":
        assert client.head(upload).offset == 5
    elif how == "append":
        assert client.append(upload, 5).offset == 5
    else:
        client.clock.seconds += 3600
        client.sweep()
    assert client.get(upload).body == b"hello"
    assert len(events) >= 1
    assert len({event.delivery_id for event in events}) == 1
    assert store.get(upload).undelivered == ()
    assert store.get(upload).state is State.COMPLETE


def test_an_end_that_a_hook_held_up_needs_no_hook_to_go_on(tmp_path: Path) -> None:
    def down(event: HookEvent) -> None:
        raise RuntimeError("the service is down")

    client = EngineClient(FileStore(tmp_path, durability="none"), hooks=Hooks(pre_finish=down))
    upload = client.create(5, b"hell").id
    assert client.append(upload, 4, b"o").status == 500
    client.hooks = Hooks()
    client.restart()
    assert client.append(upload, 5).offset == 5
    assert (client.get(upload).status, client.get(upload).body) == (200, b"hello")


def test_without_a_crash_every_finish_hook_runs_once(runner: Runner) -> None:
    client, store, events = prepared(runner)
    upload = client.create(5, b"hello").id
    for _ in range(3):
        client.head(upload)
        client.append(upload, 5)
        client.get(upload)
    assert store.steps.count("pre_finish") == 1
    assert len(events) == 1


def test_an_answer_lost_in_a_crash_is_given_again() -> None:
    client, _, events = prepared()
    client.crash_after_answer = True
    upload = client.create(5, b"hello")
    assert events == []
    client.composer.locker = type(client.composer.locker)()
    client.crash_after_answer = False
    client.restart()
    answer = client.append(upload.id, 5)
    assert (upload.status, answer.status, answer.body) == (200, 200, b"thanks")
    assert len(events) == 1


def test_an_upload_being_delivered_answers_head_without_waiting() -> None:
    client, _, events = prepared()
    client.crash_after_answer = True
    upload = client.create(5, b"hello").id
    client.crash_after_answer = False
    started = client.clock.seconds
    assert client.head(upload).offset == 5
    assert client.clock.seconds == started
    assert events == []


def test_a_refusal_at_the_end_is_final(runner: Runner) -> None:
    calls: list[str] = []

    def refuse(event: HookEvent) -> None:
        calls.append(event.type)
        raise RejectUpload("infected", status=422, headers=(("X-Virus", "yes"),), body=b"no")

    hooks = Hooks(pre_finish=refuse, post_finish=lambda event: calls.append(event.type))
    client = EngineClient(hooks=hooks, runner=runner)
    upload = client.create(5).id
    answer = client.append(upload, 0, b"hello")
    assert (answer.status, answer.body, answer["x-virus"]) == (422, b"no", "yes")
    assert [client.head(upload).status, client.append(upload, 5).status, client.get(upload).status] == [410] * 3
    assert calls == ["pre_finish"]


def test_a_hook_that_raises_leaves_the_upload_finishing_and_is_tried_again(runner: Runner) -> None:
    failures = [RuntimeError("database away"), RuntimeError("still")]

    def hook(event: HookEvent) -> None:
        if failures:
            raise failures.pop()

    client = EngineClient(hooks=Hooks(pre_finish=hook), runner=runner)
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello").status == 500
    early = client.head(upload)
    assert (early.status, int(early["retry-after"]) >= 1) == (423, True)
    assert len(failures) == 1
    client.clock.seconds += 1.1
    assert client.head(upload).status == 423
    assert failures == []
    client.clock.seconds += 1.1
    assert client.head(upload).status == 423  # the wait has doubled
    client.clock.seconds += 1
    assert client.head(upload).offset == 5


class Unfinishable(MemoryStore):
    """Its first `finish` calls raise what they were given."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__()
        self.errors = list(errors)
        self.finished = 0

    def finish(self, info: UploadInfo, /) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.finished += 1
        super().finish(info)


def test_a_store_that_cannot_finish_now_is_asked_again(runner: Runner) -> None:
    store = Unfinishable([StoreUnavailable()])
    client = EngineClient(store, runner=runner)
    client.composer.store.finishes = True  # type: ignore[attr-defined]
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello").status == 503
    client.clock.seconds += 2
    assert client.append(upload, 5).status == 204
    assert store.finished == 1


def test_a_failed_sync_is_never_turned_into_success(runner: Runner) -> None:
    store = Unfinishable([SyncFailed()])
    client = EngineClient(store, runner=runner)
    client.composer.store.finishes = True  # type: ignore[attr-defined]
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello").status == 500
    client.clock.seconds += 1000
    assert [client.append(upload, 5).status, client.head(upload).status, client.get(upload).status] == [410] * 3


def test_a_post_hook_that_raises_changes_nothing(runner: Runner) -> None:
    def broken(event: HookEvent) -> None:
        raise RuntimeError("queue away")

    told: list[str] = []
    hooks = Hooks(post_finish=[broken, lambda event: told.append(event.upload.id)])
    client = EngineClient(hooks=hooks, runner=runner)
    answer = client.create(5, b"hello")
    assert answer.status == 201
    assert told == [answer.id]
    client.head(answer.id)
    assert told == [answer.id]


def test_an_answer_with_a_status_that_has_no_body_loses_it(runner: Runner) -> None:
    for status in (204, 205, 304):

        def hook(event: HookEvent, status: int = status) -> HookResult:
            return HookResult(response=Response(status=status, headers=(("Content-Length", "7"),), body=b"ignored"))

        client = EngineClient(hooks=Hooks(pre_finish=hook), runner=runner)
        answer = client.create(5, b"hello")
        assert (answer.status, answer.body, "content-length" in answer.headers) == (status, b"", False)
