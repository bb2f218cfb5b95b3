"""Events of uploads that end otherwise than by a DELETE, and the ids that tell events apart."""

from __future__ import annotations

from tests.engine.client import EngineClient
from tuspy_server import Config, HookEvent, HookResult, Hooks, MemoryStore, StopUpload
from tuspy_server.hooks.events import HOOK_TYPES


def test_the_sweep_tells_of_what_it_removed() -> None:
    told: list[str] = []
    hooks = Hooks(post_terminate=lambda event: told.append(event.upload.id))
    client = EngineClient(config=Config(expires_after=60), hooks=hooks)
    upload = client.create(10).id
    client.clock.seconds += 60
    client.sweep(dry_run=True)
    assert told == []
    client.sweep()
    assert told == [upload]


def test_a_stop_that_terminates_tells_of_it() -> None:
    told: list[str] = []

    def stop(event: HookEvent) -> None:
        raise StopUpload(terminate=True)

    hooks = Hooks(post_receive=stop, post_terminate=lambda event: told.append(event.upload.id))
    client = EngineClient(config=Config(post_receive_interval=0), hooks=hooks)
    upload = client.create(10).id
    client.append(upload, 0, b"hello")
    assert told == [upload]


def test_metadata_a_hook_changed_is_what_head_tells() -> None:
    changed = {"name": "größe.txt", "flag": ""}
    client = EngineClient(hooks=Hooks(pre_create=lambda event: HookResult(metadata=changed)))
    upload = client.create(5, upload_metadata="old eA==").id
    assert client.head(upload)["upload-metadata"] == "name Z3LDtsOfZS50eHQ=,flag"
    cleared = EngineClient(hooks=Hooks(pre_create=lambda event: HookResult(metadata={})))
    assert "upload-metadata" not in cleared.head(cleared.create(5, upload_metadata="old eA==").id).headers


def test_every_event_has_an_id_of_its_own() -> None:
    events: list[HookEvent] = []
    hooks = Hooks()
    for name in HOOK_TYPES:
        hooks |= Hooks(**{name: events.append})  # type: ignore[arg-type]  # any hook but on_error
    client = EngineClient(MemoryStore(), Config(post_receive_interval=0), hooks)
    upload = client.create(10, b"he").id
    client.append(upload, 2, b"llo")
    client.append(upload, 5, b"world")
    client.head(upload)
    client.head(upload)
    client.delete(upload)
    assert len(events) == 14
    assert len({event.delivery_id for event in events}) == len(events)
