"""tus 1.0.0, expiration and termination; the sweep; tombstones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from werkzeug.http import parse_date

from tests.engine.client import EngineClient, Runner
from tuspy_server import Composer, Config, HookEvent, Hooks, MemoryLocker, MemoryStore, RejectUpload, State
from tuspy_server.engine.sweeping import Swept
from tuspy_server.errors import StoreUnavailable
from tuspy_server.models import UploadInfo

HOUR = Config(expires_after=3600)


def expiring(runner: Runner = "run_sync", config: Config = HOUR) -> EngineClient:
    return EngineClient(config=config, runner=runner)


def test_expiration_is_announced_only_where_it_is_configured(client: EngineClient) -> None:
    assert "expiration" not in client.request("OPTIONS")["tus-extension"]
    assert "expiration" in expiring().request("OPTIONS")["tus-extension"]


def test_every_answer_of_an_expiring_upload_says_when(runner: Runner) -> None:
    client = expiring(runner)
    created = client.create(10)
    appended = client.append(created.id, 0, b"hello")
    refused = client.append(created.id, 0, b"hello")
    for answer in (created, appended, refused, client.head(created.id)):
        found = parse_date(answer["upload-expires"])
        assert found is not None
        assert (found - client.clock.now()).total_seconds() == 3600


def test_a_finished_upload_does_not_expire(runner: Runner) -> None:
    client = expiring(runner)
    upload = client.create(5, b"hello").id
    assert "upload-expires" not in client.head(upload).headers
    client.clock.seconds += 10_000
    assert Swept(upload, "removed") not in client.sweep()
    assert client.get(upload).body == b"hello"


def test_a_full_upload_whose_end_was_cut_short_does_not_expire() -> None:
    client = EngineClient(config=HOUR, hooks=Hooks(pre_finish=_raise_once()))
    upload = client.create(5).id
    client.append(upload, 0, b"hello")
    client.clock.seconds += 10_000
    assert client.sweep() == [Swept(upload, "finished")]
    assert client.head(upload).offset == 5


def test_an_expired_upload_is_410_at_once_and_404_after_its_tombstone(runner: Runner) -> None:
    client = expiring(runner, Config(expires_after=3600, tombstone_period=600))
    upload = client.create(10, b"hello").id
    client.clock.seconds += 3600
    assert client.head(upload).status == 410
    assert client.append(upload, 5, b"world").status == 410
    assert client.sweep() == [Swept(upload, "removed")]
    assert client.head(upload).status == 410
    client.clock.seconds += 600
    assert client.sweep() == [Swept(upload, "forgotten")]
    assert client.head(upload).status == 404


def test_without_a_tombstone_period_a_removed_upload_is_404() -> None:
    client = expiring(config=Config(expires_after=3600, tombstone_period=0))
    upload = client.create(10).id
    client.delete(upload)
    assert client.head(upload).status == 404


def test_a_dry_run_tells_and_changes_nothing() -> None:
    client = expiring()
    upload = client.create(10).id
    client.clock.seconds += 3600
    assert client.sweep(dry_run=True) == [Swept(upload, "removed")]
    assert client.sweep() == [Swept(upload, "removed")]
    client.clock.seconds += 2 * 24 * 3600
    assert client.sweep(dry_run=True) == [Swept(upload, "forgotten")]
    assert client.sweep() == [Swept(upload, "forgotten")]


def test_a_sliding_expiry_restarts_with_every_append(runner: Runner) -> None:
    client = expiring(runner, Config(expires_after=3600, sliding=True))
    upload = client.create(10).id
    for offset in range(3):
        client.clock.seconds += 3000
        assert client.append(upload, offset, b"x").status == 204
    client.clock.seconds += 3600
    assert client.head(upload).status == 410


def test_the_sweep_leaves_alone_what_is_in_use() -> None:
    locker = MemoryLocker()
    client = EngineClient(Composer(MemoryStore(), locker), HOUR)
    upload = client.create(10).id
    client.clock.seconds += 3600
    lock = locker.try_lock(upload, lambda: None, lambda: None)
    assert lock is not None
    assert client.sweep() == [Swept(upload, "busy")]
    lock.release()
    assert client.sweep() == [Swept(upload, "removed")]


class Flaky(MemoryStore):
    broken = False

    def get(self, upload_id: str, /) -> UploadInfo:
        if self.broken:
            raise StoreUnavailable
        return super().get(upload_id)


def test_trouble_with_one_upload_does_not_end_the_sweep() -> None:
    store = Flaky()
    client = EngineClient(store, HOUR)
    uploads = {client.create(10).id, client.create(10).id}
    client.clock.seconds += 3600
    store.broken = True
    assert {(swept.id, swept.action) for swept in client.sweep()} == {(upload, "failed") for upload in uploads}


def test_a_store_that_lists_nothing_is_swept_of_nothing() -> None:
    client = EngineClient(Composer(MemoryStore(), MemoryLocker(), expirer=None), HOUR)
    client.create(10)
    client.clock.seconds += 3600
    assert client.sweep() == []


class Overeager(MemoryStore):
    """Lists everything as expired."""

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        return super().expired(now + timedelta(days=1))


def test_what_a_store_lists_too_early_is_kept() -> None:
    client = EngineClient(Overeager(), HOUR)
    upload = client.create(10).id
    assert client.sweep() == [Swept(upload, "kept")]
    assert client.head(upload).status == 200


def test_a_terminated_upload_is_gone_for_every_method(client: EngineClient) -> None:
    upload = client.create(10, b"hello").id
    assert client.delete(upload).status == 204
    answers = [client.head(upload), client.append(upload, 5, b"world"), client.get(upload), client.delete(upload)]
    assert [answer.status for answer in answers] == [410] * 4


def test_a_finished_upload_can_be_terminated(client: EngineClient) -> None:
    upload = client.create(5, b"hello").id
    assert client.delete(upload).status == 204
    assert client.get(upload).status == 410


def test_termination_is_told(runner: Runner) -> None:
    told: list[HookEvent] = []
    client = EngineClient(hooks=Hooks(post_terminate=told.append), runner=runner)
    upload = client.create(10, b"hello").id
    client.delete(upload)
    assert [(event.upload.id, event.upload.offset) for event in told] == [(upload, 5)]


def test_a_refused_upload_keeps_no_bytes_forever() -> None:
    def refuse(event: HookEvent) -> None:
        raise RejectUpload("virus")

    client = EngineClient(config=Config(tombstone_period=600), hooks=Hooks(pre_finish=refuse))
    answer = client.create(5, b"hello")
    assert answer.status == 400
    store = client.composer.store
    assert isinstance(store, MemoryStore)
    client.clock.seconds += 600
    (info,) = store.expired(client.clock.now())
    assert info.state is State.FAILED
    assert client.sweep() == [Swept(info.id, "removed")]


def _raise_once() -> Callable[[HookEvent], None]:
    errors = [RuntimeError("not yet")]

    def hook(event: HookEvent) -> None:
        if errors:
            raise errors.pop()

    return hook


def test_a_store_that_cannot_remove_keeps_what_expired(runner: Runner) -> None:
    client = EngineClient(Composer(MemoryStore(), terminater=None), config=HOUR, runner=runner)
    upload = client.create(10, b"hello").id
    client.clock.seconds += 3600
    client.sweep()
    assert client.head(upload).status == 410


def test_a_sweep_that_only_looks_finishes_nothing() -> None:
    told: list[HookEvent] = []
    client = EngineClient(config=HOUR, hooks=Hooks(pre_finish=_raise_once(), post_finish=told.append))
    upload = client.create(5).id
    client.append(upload, 0, b"hello")
    client.clock.seconds += 10_000
    assert client.sweep(dry_run=True) == [Swept(upload, "finished")]
    assert told == []
    assert client.sweep() == [Swept(upload, "finished")]
    assert len(told) == 1


class Forgetting(MemoryStore):
    """Lists an upload that someone else removes before the sweep comes to it."""

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        for info in list(super().expired(now)):
            self.terminate(info)
            self.create(replace(info, state=State.GONE, expires=now + timedelta(hours=1)))
            yield info


def test_an_upload_removed_before_the_sweep_came_to_it_is_left_alone() -> None:
    client = EngineClient(Forgetting(), config=HOUR)
    upload = client.create(10, b"hello").id
    client.clock.seconds += 3600
    assert client.sweep() == [Swept(upload, "failed")]
