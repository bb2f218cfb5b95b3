"""Uploads made by a script that notes what the store has promised by which of its system calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tests.stores.disk import RecordingSystem
from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.stores.file import FileStore

NOW = datetime(2030, 1, 2, tzinfo=UTC)
SOURCE = bytes(1 + n % 251 for n in range(5000))


@dataclass
class Promises:
    """About one upload: bytes told to the client, bytes handed to the store, and how it ends.

    `whole`: all of its bytes count or none does.
    """

    source: bytes
    told: int = -1
    limit: int = 0
    whole: bool = False
    finished: bool = False
    ending: bool = False
    buried: bool = False


@dataclass
class Scribe:
    """Drives a store. Each note tells after how many events which promise changes."""

    store: FileStore
    system: RecordingSystem
    notes: list[tuple[int, str, Callable[[Promises], None]]] = field(default_factory=list)
    sources: dict[str, bytes] = field(default_factory=dict)

    def note(self, upload_id: str, change: Callable[[Promises], None]) -> None:
        self.notes.append((len(self.system.events), upload_id, change))

    def promises(self, events: int) -> dict[str, Promises]:
        """What holds once so many events have happened."""
        found = {upload_id: Promises(source) for upload_id, source in self.sources.items()}
        for turn, upload_id, change in self.notes:
            if turn <= events:
                change(found[upload_id])
        return found

    def create(self, upload_id: str, source: bytes, **fields: object) -> UploadInfo:
        self.sources[upload_id] = source
        wanted = UploadInfo(id=upload_id, length=len(source), created=NOW)
        info = self.store.create(replace(wanted, **fields))  # type: ignore[arg-type]
        self._told(info, 0)
        return info

    def append(self, info: UploadInfo, *sizes: int) -> UploadInfo:
        end = info.offset
        writer = self.store.open(info, fence=None)
        for size in sizes:
            self._limit(info, end + size)
            writer.write([self.sources[info.id][end : end + size]])
            end += size
        assert writer.close() == end
        self._told(info, end)
        return replace(info, offset=end)

    def stage(self, info: UploadInfo, size: int) -> UploadInfo:
        end = info.offset + size
        writer = self.store.stage(info, fence=None)
        writer.write([self.sources[info.id][info.offset : end]])
        self._limit(info, end)
        assert writer.close() == end
        self._told(info, end)
        return replace(info, offset=end)

    def stage_in_vain(self, info: UploadInfo, size: int, *, discard: bool) -> None:
        writer = self.store.stage(info, fence=None)
        writer.write([b"\xff" * size])
        if discard:
            writer.discard()

    def finish(self, info: UploadInfo) -> UploadInfo:
        info = self.store.update(replace(info, state=State.FINISHING))
        self.store.finish(info)
        self.note(info.id, lambda promises: setattr(promises, "finished", True))
        return self.store.update(replace(info, state=State.COMPLETE, undelivered=("post_finish",)))

    def concat(self, info: UploadInfo, *parts: UploadInfo) -> UploadInfo:
        self.note(info.id, lambda promises: setattr(promises, "told", 0))
        self.note(info.id, lambda promises: setattr(promises, "whole", True))
        self._limit(info, len(self.sources[info.id]))
        info = self.store.concat(info, parts)
        self._told(info, info.offset)
        return info

    def terminate(self, info: UploadInfo, *, tombstone: bool) -> None:
        self.note(info.id, lambda promises: setattr(promises, "ending", True))
        dead = replace(info, state=State.GONE, expires=NOW + timedelta(days=1) if tombstone else None)
        self.store.terminate(dead)
        self.note(info.id, lambda promises: setattr(promises, "buried", True))

    def _told(self, info: UploadInfo, offset: int) -> None:
        self.note(info.id, lambda promises: setattr(promises, "told", max(promises.told, offset)))

    def _limit(self, info: UploadInfo, offset: int) -> None:
        self.note(info.id, lambda promises: setattr(promises, "limit", max(promises.limit, offset)))


def plain(scribe: Scribe) -> None:
    """Appends, completed, then removed with a tombstone; another with a chosen place, removed without."""
    info = scribe.append(scribe.create("plain", SOURCE[:3000]), 1000, 500)
    info = scribe.append(scribe.store.get(info.id), 1500)
    scribe.terminate(scribe.finish(info), tombstone=True)
    info = scribe.append(scribe.create("placed", SOURCE[:10], storage={"path": "a/b/name.bin"}), 10)
    scribe.terminate(scribe.finish(info), tombstone=False)


def unfinished(scribe: Scribe) -> None:
    """Appends that never come to an end, a length that comes late, an upload without bytes."""
    scribe.finish(scribe.create("empty", b""))
    info = scribe.append(scribe.create("open", SOURCE, length=None, storage={"path": "deep/er/open"}), 100)
    info = scribe.store.declare_length(info, len(SOURCE))
    scribe.append(info, 200)


def staged(scribe: Scribe) -> None:
    """Staged bytes that are kept, discarded, and left behind by a request that died."""
    info = scribe.create("staged", SOURCE[:600])
    scribe.stage_in_vain(info, 50, discard=True)
    info = scribe.stage(info, 200)
    scribe.stage_in_vain(info, 90, discard=False)
    info = scribe.append(scribe.store.get(info.id), 100)
    scribe.stage_in_vain(info, 90, discard=True)
    scribe.finish(scribe.stage(scribe.store.get(info.id), 300))


def concatenated(scribe: Scribe) -> None:
    """A final of two parts, put together twice."""
    parts = [
        scribe.append(scribe.create("one", SOURCE[:40], kind=Kind.PARTIAL), 40),
        scribe.append(scribe.create("two", SOURCE[40:100], kind=Kind.PARTIAL), 60),
    ]
    info = scribe.create("final", SOURCE[:100], kind=Kind.FINAL, parts=("one", "two"))
    scribe.concat(info, *parts)
    scribe.finish(scribe.concat(scribe.store.get(info.id), *parts))


def much_updated(scribe: Scribe) -> None:
    """A record that is compacted before and after the end."""
    info = scribe.append(scribe.create("busy", SOURCE[:500]), 200)
    for turn in range(10):
        info = scribe.store.update(replace(info, server_metadata={"turn": str(turn), "filler": "x" * 7000}))
    info = scribe.finish(scribe.append(info, 300))
    for turn in range(10):
        info = scribe.store.update(replace(info, server_metadata={"turn": str(turn), "filler": "y" * 7000}))


SCRIPTS = (plain, unfinished, staged, concatenated, much_updated)
