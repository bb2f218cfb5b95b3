"""SEC5, SEC6: what one principal may ask of the server, and what is asked again at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tests.engine.test_locking import Script
from tuspy_server import Config, HookEvent, Hooks, MemoryStore, RejectUpload, Request


def by_header(request: Request) -> str | None:
    return request.header("x-user")


def test_sec5_a_permission_withdrawn_while_the_bytes_came_refuses_the_end(runner: Runner) -> None:
    allowed = {"alice"}

    def check(event: HookEvent) -> None:
        if event.request.principal not in allowed:
            raise RejectUpload("withdrawn", status=403)

    hooks = Hooks(pre_create=check, pre_access=check, pre_finish=check)
    client = EngineClient(config=Config(principal=by_header), hooks=hooks, runner=runner)
    upload = client.create(10, x_user="alice").id
    body = Script(b"hello", lambda: allowed.remove("alice"), b"world")
    fields = {**APPEND, "Upload-Offset": "0", "X-User": "alice"}
    assert client.request("PATCH", upload, fields, body).status == 403
    allowed.add("alice")
    assert client.request("HEAD", upload, {"X-User": "alice"}).status == 410


def test_sec6_open_uploads_of_a_principal_are_capped(runner: Runner) -> None:
    client = EngineClient(config=Config(principal=by_header, max_open_uploads=2, expires_after=60), runner=runner)
    first, second = (client.create(5, x_user="alice").id for _ in range(2))
    refused = client.create(5, x_user="alice")
    assert (refused.status, "location" in refused.headers, refused["retry-after"]) == (429, False, "60")
    assert client.create(5, x_user="bob").status == 201
    client.append(first, 0, b"hello", x_user="alice")
    third = client.create(5, x_user="alice")
    assert third.status == 201
    assert client.create(5, x_user="alice").status == 429
    assert client.request("DELETE", second, {"X-User": "alice"}).status == 204
    assert client.create(5, x_user="alice").status == 201
    client.clock.seconds += 60
    assert client.create(5, x_user="alice").status == 201


def test_sec6_a_creation_that_fails_does_not_count() -> None:
    ids = ["same", "same", "other", "same", "third"]
    client = EngineClient(config=Config(max_open_uploads=1, new_id=lambda request: ids.pop(0)))
    first = client.create(5)
    assert [first.status, client.create(5).status, client.create(5).status] == [201, 409, 429]
    client.append(first.id, 0, b"hello")
    assert [client.create(5).status, client.create(5).status] == [409, 201]


def test_sec6_running_requests_of_a_principal_are_capped(runner: Runner) -> None:
    client = EngineClient(config=Config(principal=by_header, max_running_requests=1))
    upload, other = (client.create(10, x_user="alice").id for _ in range(2))
    during: list[tuple[int, Mapping[str, str]]] = []

    def meanwhile() -> None:
        for user in ("alice", "bob"):
            answer = client.request("HEAD", other, {"X-User": user})
            during.append((answer.status, answer.headers))

    fields = {**APPEND, "Upload-Offset": "0", "X-User": "alice"}
    assert client.request("PATCH", upload, fields, Script(b"hello", meanwhile)).status == 204
    assert [status for status, _ in during] == [423, 404]
    assert during[0][1]["retry-after"] == "1"
    assert client.request("HEAD", other, {"X-User": "alice"}).status == 200


def test_sec6_a_slow_body_is_interrupted_and_its_bytes_are_kept(runner: Runner) -> None:
    client = EngineClient(config=Config(min_rate=100), runner=runner)
    upload = client.create(5000).id

    def seconds(count: float) -> Callable[[], None]:
        def go_by() -> None:
            client.clock.seconds += count

        return go_by

    fast = Script(seconds(9), b"x", seconds(2), b"y" * 1999, seconds(1))
    fields = {**APPEND, "Upload-Offset": "0"}
    assert client.request("PATCH", upload, fields, fast).status == 204
    slow = Script(seconds(9), b"x" * 10, seconds(9), b"y" * 10, b"never")
    answer = client.request("PATCH", upload, {**fields, "Upload-Offset": "2000"}, slow)
    assert (answer.status, answer.body.startswith(b"ERR_TOO_SLOW")) == (500, True)
    assert client.head(upload).offset == 2020


@pytest.mark.parametrize("empty", [False, True])
def test_sec6_a_lifetime_is_absolute(runner: Runner, empty: bool) -> None:
    config = Config(expires_after=60, sliding=True, max_lifetime=150)
    client = EngineClient(config=config, runner=runner)
    upload = client.create(1000).id
    for step in range(3):
        client.clock.seconds += 49
        assert client.append(upload, 0 if empty else step, b"" if empty else b"x").status == 204
    client.clock.seconds += 3
    assert client.head(upload).status == 410
    assert client.append(upload, 0 if empty else 3, b"x").status == 410


def test_sec6_a_lifetime_ends_a_running_body() -> None:
    client = EngineClient(config=Config(expires_after=60, sliding=True, max_lifetime=150))
    upload = client.create(1000).id

    def wait() -> None:
        client.clock.seconds += 100

    body = Script(wait, b"x", wait, b"x", b"never")
    assert client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, body).status == 410


def test_sec6_a_lifetime_does_not_touch_what_is_complete() -> None:
    client = EngineClient(config=Config(expires_after=60, max_lifetime=150))
    upload = client.create(5, b"hello").id
    client.clock.seconds += 1000
    assert client.get(upload).body == b"hello"


def test_sec6_appends_of_an_upload_are_capped_empty_ones_too(runner: Runner) -> None:
    client = EngineClient(config=Config(max_appends=3), runner=runner)
    upload = client.create(10).id
    answers = [client.append(upload, 0), client.append(upload, 0, b"he"), client.append(upload, 2, b"l")]
    assert [answer.status for answer in answers] == [204] * 3
    refused = client.append(upload, 3, b"l")
    assert (refused.status, refused.body.startswith(b"ERR_TOO_MANY_APPENDS")) == (403, True)
    assert client.head(upload).offset == 3


@pytest.mark.parametrize(
    "name", ["max_open_uploads", "max_running_requests", "max_appends", "min_rate", "max_lifetime"]
)
def test_a_cap_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Config.{name} must be greater than 0"):
        Config(**{name: 0})  # type: ignore[arg-type]  # any of them


def test_a_lifetime_needs_an_expiry() -> None:
    with pytest.raises(ValueError, match=r"Config\.max_lifetime needs Config\.expires_after"):
        Config(max_lifetime=5)


def test_without_caps_nothing_is_counted() -> None:
    assert EngineClient(MemoryStore()).engine.caps is None
