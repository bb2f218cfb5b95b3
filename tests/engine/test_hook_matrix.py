"""Every hook refuses, raises, stops, answers and hangs, and what comes of it; and hooks of a redone request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import anyio
import httpx
import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tuspy_server import (
    ASGIApp,
    Composer,
    Config,
    HookEvent,
    HookResult,
    Hooks,
    MemoryLocker,
    MemoryStore,
    RejectUpload,
    Response,
    StopUpload,
)
from tuspy_server.hooks.events import HOOK_TYPES

Act = Callable[[HookEvent], HookResult | None]
USUAL = {"POST": 201, "PATCH": 204, "DELETE": 204}
DECIDES = {"pre_access": "PATCH", "pre_create": "POST", "pre_finish": "PATCH", "pre_terminate": "DELETE"}
"""What each hook that decides is asked about."""


def refuse(event: HookEvent) -> None:
    raise RejectUpload("no", status=418)


def fail(event: HookEvent) -> None:
    raise RuntimeError("a secret")


def stop(event: HookEvent) -> None:
    raise StopUpload(Response(status=402))


def answer(event: HookEvent) -> HookResult:
    return HookResult(response=Response(status=299, headers=(("X-Hook", event.type),)))


def life(hook_type: str, act: Act, runner: Runner, colour: str, **settings: float) -> dict[str, int]:
    """The statuses of an upload's requests, up to the first that is not the usual one."""

    def only_then(event: HookEvent) -> HookResult | None:
        return act(event) if event.request.method == DECIDES.get(hook_type, event.request.method) else None

    async def only_then_later(event: HookEvent) -> HookResult | None:
        await anyio.lowlevel.checkpoint()
        return only_then(event)

    hooks = Hooks(**{hook_type: only_then if colour == "def" else only_then_later})  # type: ignore[arg-type]
    config = Config(post_receive_interval=0, **settings)  # type: ignore[arg-type]  # only numbers of seconds
    client = EngineClient(MemoryStore(), config, hooks, runner)
    created = client.create(5)
    found = {"POST": created.status}
    if "location" in created.headers:
        found["PATCH"] = client.append(created.id, 0, b"hello").status
        found["DELETE"] = client.delete(created.id).status
    assert b"secret" not in created.body
    return found


@pytest.fixture(params=["def", "async def"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(("act", "status"), [(refuse, 418), (fail, 500), (stop, 402), (answer, 299)])
@pytest.mark.parametrize("hook_type", DECIDES)
def test_a_hook_that_decides(hook_type: str, act: Act, status: int, runner: Runner, colour: str) -> None:
    found = life(hook_type, act, runner, colour)
    method = DECIDES[hook_type]
    if hook_type == "pre_access" and act is answer:
        status = USUAL[method]  # it may only refuse
    assert found[method] == status
    before = [name for name in USUAL if list(USUAL).index(name) < list(USUAL).index(method)]
    assert [found[name] for name in before] == [USUAL[name] for name in before]


@pytest.mark.parametrize("act", [refuse, fail, stop, answer])
@pytest.mark.parametrize("hook_type", ["post_create", "post_finish", "post_terminate"])
def test_a_hook_that_is_only_told_changes_nothing(hook_type: str, act: Act, runner: Runner, colour: str) -> None:
    assert life(hook_type, act, runner, colour) == USUAL


@pytest.mark.parametrize(("act", "status"), [(refuse, 204), (fail, 204), (stop, 402), (answer, 204)])
def test_a_hook_that_hears_of_bytes_may_stop_and_nothing_else(
    act: Act, status: int, runner: Runner, colour: str
) -> None:
    assert life("post_receive", act, runner, colour)["PATCH"] == status


@pytest.mark.parametrize("hook_type", [name for name in HOOK_TYPES if name.startswith("post_")])
def test_a_hook_that_is_told_and_hangs_is_left_behind(
    hook_type: str, runner: Runner, colour: str, caplog: pytest.LogCaptureFixture
) -> None:
    over, hanging = threading.Event(), threading.Event()

    def hang(event: HookEvent) -> None:
        hanging.set()
        over.wait(20)

    async def hang_later(event: HookEvent) -> None:
        hanging.set()
        await anyio.sleep(20)

    hook = hang if colour == "def" else hang_later
    config = Config(post_receive_interval=0, hook_timeout=0.05)
    client = EngineClient(MemoryStore(), config, Hooks(**{hook_type: hook}), runner)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR, "tuspy_server"):
        upload = client.create(5).id
        statuses = [client.append(upload, 0, b"hello").status, client.delete(upload).status]
    assert statuses == [204, 204]
    assert hanging.wait(20)  # on a busy machine its thread may start later than it may take
    over.set()
    assert f"hook {hook_type} failed" in caplog.text


@pytest.mark.parametrize("hook_type", DECIDES)
def test_a_hook_that_decides_and_hangs_fails_its_request_after_its_timeout(
    hook_type: str, runner: Runner, colour: str, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def hang(event: HookEvent) -> None:
        if event.request.method == DECIDES[hook_type]:
            over.wait(20)

    async def hang_later(event: HookEvent) -> None:
        if event.request.method == DECIDES[hook_type]:
            await anyio.sleep(20)

    hooks = Hooks(**{hook_type: hang if colour == "def" else hang_later})  # type: ignore[arg-type]
    client = EngineClient(MemoryStore(), Config(pre_hook_timeout=0.5), hooks, runner)
    with caplog.at_level(logging.ERROR, "tuspy_server"):
        created = client.create(5)
        answers = {"POST": created}
        if hook_type != "pre_create":
            answers["PATCH"] = client.append(created.id, 0, b"hello")
            answers["DELETE"] = client.delete(created.id)
    over.set()
    expected = {method: 500 if method == DECIDES[hook_type] else USUAL[method] for method in answers}
    assert {method: answer.status for method, answer in answers.items()} == expected
    assert b"timeout" not in answers[DECIDES[hook_type]].body.lower()
    assert f"hook {hook_type} did not answer within 0.5 seconds" in caplog.text


def test_an_end_whose_hook_hung_is_tried_again(runner: Runner, colour: str) -> None:
    over = threading.Event()
    asked: list[str] = []

    def hang_once(event: HookEvent) -> HookResult | None:
        asked.append(event.delivery_id)
        if len(asked) == 1:
            over.wait(20)
        return answer(event)

    async def hang_once_later(event: HookEvent) -> HookResult | None:
        asked.append(event.delivery_id)
        if len(asked) == 1:
            await anyio.sleep(20)
        return answer(event)

    hooks = Hooks(pre_finish=hang_once if colour == "def" else hang_once_later)
    client = EngineClient(MemoryStore(), Config(pre_hook_timeout=0.5), hooks, runner)
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello").status == 500
    over.set()
    client.clock.seconds += 60
    assert client.append(upload, 5, b"").status == 299
    assert len(asked) == 2
    assert len(set(asked)) == 1


def test_hooks_that_decide_in_time_are_not_hurried(runner: Runner, colour: str) -> None:
    assert life("pre_finish", answer, runner, colour, pre_hook_timeout=20)["PATCH"] == 299
    assert life("pre_create", refuse, runner, colour, pre_hook_timeout=20)["POST"] == 418


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_hooks_run_once_although_the_lock_was_contended(backend: str) -> None:
    told: list[str] = []
    locker = MemoryLocker()
    hooks = Hooks()
    for name in HOOK_TYPES:
        hooks |= Hooks(**{name: lambda event: told.append(event.type)})  # type: ignore[arg-type]
    app = ASGIApp(Composer(MemoryStore(), locker), Config(post_receive_interval=60), hooks=hooks)

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            fields = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
            location = (await client.post("/", headers=fields)).headers["Location"]
            asked = threading.Event()
            lock = locker.try_lock(location.rpartition("/")[2], asked.set, lambda: None)
            assert lock is not None

            async def let_go() -> None:
                await anyio.to_thread.run_sync(asked.wait)
                lock.release()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(let_go)
                fields = {"Tus-Resumable": "1.0.0", **APPEND, "Upload-Offset": "0"}
                appended = await client.patch(location, headers=fields, content=b"hello")
                assert appended.status_code == 204

    anyio.run(main, backend=backend)
    assert told == ["pre_create", "post_create", "pre_access", "pre_finish", "post_finish"]
