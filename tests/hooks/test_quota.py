from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tests.hooks.samples import REQUEST, UPLOAD, event
from tuspy_server import Hooks
from tuspy_server.errors import RejectUpload, StopUpload
from tuspy_server.hooks.quota import UserQuota
from tuspy_server.models import HookEvent, Limits


class Clock:
    now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


class Account:
    """One user's uploads against a quota of 100 bytes."""

    def __init__(self, path: Path, principal: str | None = "alice") -> None:
        self.clock = Clock()
        self.quota = UserQuota(path / "quota.db", 100, clock=self.clock)
        self.request = replace(REQUEST, principal=principal)

    def tell(self, hook: str, upload_id: str, length: int | None, **changes: Any) -> None:
        self.quota.hooks()[hook](self.event(hook, upload_id, length, **changes))  # type: ignore[literal-required]

    def event(self, hook: str, upload_id: str, length: int | None, **changes: Any) -> HookEvent:
        upload = replace(UPLOAD, id=upload_id, length=length, offset=0)
        return event(hook, upload, self.request, **changes)

    def create(self, upload_id: str, length: int | None, **changes: Any) -> None:
        self.tell("pre_create", upload_id, length, **changes)
        self.tell("post_create", upload_id, length, **changes)

    @property
    def used(self) -> int:
        return self.quota.used(self.request.principal or "")


@pytest.fixture(params=["run_sync", "asyncio", "trio"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return cast(Runner, request.param)


@pytest.fixture
def alice(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_what_would_exceed_the_limit_is_refused(alice: Account) -> None:
    alice.create("a", 60)
    with pytest.raises(RejectUpload) as refusal:
        alice.create("b", 41)
    assert refusal.value.answer_status == 413
    alice.create("b", 40)
    assert alice.used == 100
    alice.create("empty", 0)


def test_accounts_are_apart_and_nobodies_share_one(alice: Account, tmp_path: Path) -> None:
    nobody = Account(tmp_path, None)
    alice.create("a", 100)
    nobody.create("b", 100)
    with pytest.raises(RejectUpload):
        nobody.create("c", 1)


def test_finished_uploads_count_until_they_are_removed(alice: Account) -> None:
    alice.create("a", 60)
    alice.tell("post_finish", "a", 60, offset=60)
    assert alice.used == 60
    alice.tell("post_terminate", "a", 60)
    assert alice.used == 0
    alice.create("b", 60)
    alice.quota.release("b")
    assert alice.used == 0


def test_an_expired_upload_counts_no_longer_but_a_finished_one_does(alice: Account) -> None:
    soon = datetime.fromtimestamp(alice.clock.now + 10, UTC)
    for upload_id in ("unfinished", "finished", "sliding"):
        alice.create(upload_id, 30, expires=soon, limits=Limits(sliding=upload_id == "sliding"))
    alice.tell("post_finish", "finished", 30, offset=30, expires=soon)
    alice.clock.now += 11
    assert alice.used == 60


def test_a_creation_that_failed_is_forgotten(alice: Account) -> None:
    alice.tell("pre_create", "a", 100)
    with pytest.raises(RejectUpload):
        alice.tell("pre_create", "b", 1)
    alice.clock.now += 601
    alice.tell("pre_create", "b", 1)


def test_a_final_upload_that_is_asked_for_again_counts_once_and_stays(alice: Account) -> None:
    alice.create("final", 80)
    alice.tell("pre_create", "final", 80)
    alice.clock.now += 601
    assert alice.used == 80


def test_an_upload_of_unknown_length_is_stopped_beyond_the_limit(alice: Account) -> None:
    alice.create("a", 60)
    alice.create("b", None)
    alice.tell("post_receive", "b", None, offset=40)
    with pytest.raises(StopUpload) as stop:
        alice.tell("post_receive", "b", None, offset=41)
    assert stop.value.terminate
    assert alice.used == 60


def test_sec5_a_length_told_later_is_measured_against_the_quota(tmp_path: Path, runner: Runner) -> None:
    quota = UserQuota(tmp_path / "quota.db", 100)
    client = EngineClient(hooks=Hooks(**quota.hooks()), runner=runner)
    client.create(60)
    upload = client.request("POST", headers={"Upload-Defer-Length": "1"}).id
    at_once = {**APPEND, "Upload-Offset": "0"}
    refused = client.request("PATCH", upload, {**at_once, "Upload-Length": "41"}, b"x")
    assert (refused.status, client.head(upload).offset) == (413, 0)
    assert client.request("PATCH", upload, at_once, b"x" * 41).status == 413
    assert (quota.used(""), client.head(upload).offset) == (60, 0)
    assert client.request("PATCH", upload, {**at_once, "Upload-Length": "40"}, b"x").status == 204
    assert quota.used("") == 100
    assert client.create(1).status == 413


def test_sec5_a_drafts_last_append_is_measured_against_the_quota(tmp_path: Path, runner: Runner) -> None:
    quota = UserQuota(tmp_path / "quota.db", 100)
    client = EngineClient(hooks=Hooks(**quota.hooks()), runner=runner)
    draft = {"Upload-Draft-Interop-Version": "9", "Upload-Complete": "?0"}
    refused = client.request("POST", headers=draft, body=b"x" * 101, version=None)
    assert (refused.status, quota.used("")) == (413, 0)
    upload = client.request("POST", headers=draft, body=b"x" * 90, version=None).id
    last = {**draft, "Upload-Complete": "?1", "Upload-Offset": "90", "Content-Type": "application/partial-upload"}
    assert client.request("PATCH", upload, last, b"x" * 11, version=None).status == 413
    assert client.request("PATCH", upload, last, b"x" * 10, version=None).status == 201
    assert quota.used("") == 100


def test_a_claim_that_cannot_be_read_is_left_to_the_protocol(alice: Account) -> None:
    alice.create("a", None)
    for value in ("x", "-1", "9" * 30, "41, 42", ""):
        request = replace(alice.request, headers=(("upload-length", value),))
        alice.quota.hooks()["pre_access"](event("pre_access", replace(UPLOAD, id="a", length=None), request))
    assert alice.used == 0


def test_an_upload_of_unknown_length_needs_some_room(alice: Account) -> None:
    alice.create("a", 100)
    with pytest.raises(RejectUpload):
        alice.create("b", None)


def test_the_true_size_counts_at_the_end(alice: Account) -> None:
    alice.create("a", None)
    alice.tell("post_finish", "a", 70, offset=70)
    assert alice.used == 70
    assert alice.quota.remaining(alice.request) == 30


def test_the_limit_may_depend_on_the_account(tmp_path: Path) -> None:
    quota = UserQuota(tmp_path / "quota.db", {"alice": 5, "bob": 7}.__getitem__)
    assert quota.remaining(REQUEST) == 5
    assert quota.remaining(replace(REQUEST, principal="bob")) == 7


def test_what_is_gone_can_be_pruned(alice: Account) -> None:
    alice.create("a", 10)
    alice.create("b", 20)
    assert alice.quota.prune(lambda upload_id: upload_id == "a") == 1
    assert alice.used == 10


def test_processes_that_create_at_once_stay_within_the_limit_together(tmp_path: Path) -> None:
    program = """
import sys
from tests.hooks.test_quota import Account, Path, RejectUpload
alice = Account(Path(sys.argv[1]))
sys.stdin.read()
created = 0
for number in range(20):
    try:
        alice.create(f"{sys.argv[2]}-{number}", 5)
        created += 1
    except RejectUpload:
        pass
print(created)
"""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
        worker.stdin = None
    created = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sum(created) == 20
    assert Account(tmp_path).used == 100
