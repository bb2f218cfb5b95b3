"""What a power loss, a kill and a failed fsync leave: every prefix of the store's system calls is replayed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.stores.disk import LOSSES, Disk, Event, Loss, OneFailure, RecordingSystem, restore
from tests.stores.scribe import NOW, SCRIPTS, Promises, Scribe
from tuspy_server.errors import StoreError, SyncFailed, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.upload_records import Durability

NOTHING_LOST = Loss(names_kept=True, records="kept", data="kept")
DURABILITIES: tuple[Durability, ...] = ("none", "finish", "always")

Script = Callable[[Scribe], None]


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.__name__)
def script(request: pytest.FixtureRequest) -> Script:
    found: Script = request.param
    return found


def recorded(root: Path, durability: Durability, script: Script) -> Scribe:
    (root / "before").mkdir()
    system = RecordingSystem(root / "before")
    scribe = Scribe(FileStore(root / "before", durability=durability, system=system), system)
    script(scribe)
    return scribe


def steps(events: list[Event], *, torn: bool) -> Iterator[tuple[int, Event]]:
    """The events with how many have happened; with `torn` a write happens by halves."""
    for turn, event in enumerate(events):
        match event:
            case ("write", node, offset, bytes(data)) if torn and len(data) > 1:
                yield turn, ("write", node, offset, data[: len(data) // 2])
        yield turn + 1, event


def aftermaths(root: Path, scribe: Scribe, losses: list[Loss]) -> Iterator[tuple[Path, dict[str, Promises]]]:
    """For every prefix of the events and every loss: what is left, and what was promised by then."""
    disk, before, after = Disk(), root / "before", root / "after"
    seen = set()
    for turn, event in steps(scribe.system.events, torn=losses == [NOTHING_LOST]):
        disk.apply(event)
        promises = scribe.promises(turn)
        for loss in losses:
            files = disk.after(loss)
            state = (frozenset(files.items()), repr(promises))
            if state in seen:
                continue
            seen.add(state)
            shutil.rmtree(after, ignore_errors=True)
            restore(files, before, after)
            yield after, promises


def reopened(directory: Path, durability: Durability, boot: str) -> FileStore:
    return FileStore(directory, durability=durability, system=RecordingSystem(directory, boot=boot))


def found(store: FileStore, upload_id: str) -> UploadInfo | None:
    try:
        return store.get(upload_id)
    except UploadNotFound:
        return None


def content(store: FileStore, info: UploadInfo) -> bytes:
    return b"".join(store.read(info, 0, info.offset))


def resume_and_compare(store: FileStore, info: UploadInfo, source: bytes) -> None:
    """Send what is missing as a client would, and look at the whole."""
    if info.state is State.OPEN:
        info = store.get(info.id) if info.length else store.declare_length(info, len(source))
        writer = store.open(info, fence=None)
        writer.write([source[info.offset :]])
        info = replace(info, offset=writer.close())
    if info.state is not State.COMPLETE:
        store.finish(info)
        store.update(replace(info, state=State.COMPLETE))
    complete = store.get(info.id)
    assert complete.state is State.COMPLETE
    assert content(store, complete) == source


def assert_told_bytes_are_there(store: FileStore, upload_id: str, promises: Promises) -> None:
    info = found(store, upload_id)
    if info is None:
        assert promises.told < 0 or promises.ending
        return
    assert not promises.buried
    assert promises.told <= info.offset <= max(promises.limit, promises.told)
    assert not promises.whole or info.offset in (0, info.length)
    if not promises.ending:
        assert content(store, info) == promises.source[: info.offset]
        resume_and_compare(store, info, promises.source)


def assert_finished_bytes_are_there(store: FileStore, upload_id: str, promises: Promises) -> None:
    info = found(store, upload_id)
    if info is None:
        assert promises.ending or not promises.finished
    elif not promises.ending and (promises.finished or info.state is State.COMPLETE):
        assert info.offset == len(promises.source)
        resume_and_compare(store, info, promises.source)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_kill_between_two_calls_loses_nothing(memory_path: Path, durability: Durability, script: Script) -> None:
    scribe = recorded(memory_path, durability, script)
    for directory, promises in aftermaths(memory_path, scribe, [NOTHING_LOST]):
        store = reopened(directory, durability, "first")
        for upload_id, promised in promises.items():
            assert_told_bytes_are_there(store, upload_id, promised)


def test_always_keeps_every_offset_it_told(memory_path: Path, script: Script) -> None:
    scribe = recorded(memory_path, "always", script)
    for directory, promises in aftermaths(memory_path, scribe, LOSSES):
        store = reopened(directory, "always", "second")
        for upload_id, promised in promises.items():
            assert_told_bytes_are_there(store, upload_id, replace(promised, buried=False))


def test_finish_keeps_what_was_finished(memory_path: Path, script: Script) -> None:
    scribe = recorded(memory_path, "finish", script)
    for directory, promises in aftermaths(memory_path, scribe, LOSSES):
        store = reopened(directory, "finish", "second")
        for upload_id, promised in promises.items():
            assert_finished_bytes_are_there(store, upload_id, promised)


def test_none_promises_nothing_and_still_answers(memory_path: Path, script: Script) -> None:
    scribe = recorded(memory_path, "none", script)
    for directory, promises in aftermaths(memory_path, scribe, LOSSES):
        store = reopened(directory, "none", "second")
        for upload_id in promises:
            found(store, upload_id)
        assert {info.id for info in store.expired(NOW + timedelta(days=2))} <= promises.keys()


def test_always_keeps_tombstones(memory_path: Path) -> None:
    scribe = recorded(memory_path, "always", SCRIPTS[0])
    for directory, promises in aftermaths(memory_path, scribe, LOSSES):
        if promises["plain"].buried:
            with pytest.raises(UploadGone):
                reopened(directory, "always", "second").get("plain")


@pytest.mark.parametrize("durability", ["finish", "always"])
@pytest.mark.parametrize("call", ["sync", "sync_names"])
def test_one_failed_sync_never_becomes_success(
    memory_path: Path, durability: Durability, call: str, script: Script
) -> None:
    turn, failed = 0, True
    while failed:
        directory = memory_path / f"{turn}"
        directory.mkdir()
        failure = OneFailure(call, turn)
        system = RecordingSystem(directory, failure)
        scribe = Scribe(FileStore(directory, durability=durability, system=system), system)
        with_error = False
        try:
            script(scribe)
        except StoreError:
            with_error = True
        failed = failure.happened
        assert with_error == failed
        if failed:
            assert_nothing_in_work_can_finish(scribe, reopened(directory, durability, "first"))
        turn += 1


def assert_nothing_in_work_can_finish(scribe: Scribe, later: FileStore) -> None:
    """The upload whose sync failed is the one the script was at: the last one it named."""
    upload_id = list(scribe.sources)[-1]
    for store in (scribe.store, later):
        info = found(store, upload_id)
        if info is not None:
            assert info.state is State.FAILED
            with pytest.raises(SyncFailed):
                store.finish(info)
