"""The life of an upload as the engine makes a store lead it, with each step that a client hears of told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from tuspy_server.errors import StoreError, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.ledger_store import LedgerStore
from tuspy_server.stores.ledger_writer import LedgerWriter

PIECE: Final = 100
#: 36 pieces and a tail: on Google Cloud Storage some are composed on the way.
DATA: Final = bytes(n * 31 % 251 for n in range(36 * PIECE + 7))
#: Where each append ends: whole pieces, odd sizes, a single byte, too little for a piece, many at once.
CUTS: Final = (3 * PIECE, 3 * PIECE + 1, 5 * PIECE - 1, 5 * PIECE + 3, len(DATA))
#: This append is staged, as for a checksum.
STAGED: Final = 5 * PIECE - 1

Tell = Callable[[str, int], None]


def new_upload(upload_id: str) -> UploadInfo:
    """Of a length that is declared before the end; it expires an hour after its creation."""
    created = datetime(2030, 1, 1, tzinfo=UTC)
    return UploadInfo(
        id=upload_id, length=None, created=created, expires=created + timedelta(hours=1), metadata={"name": "名前"}
    )


def append(store: LedgerStore, info: UploadInfo, end: int) -> UploadInfo:
    """One request: from the upload's offset up to `end`, in several batches."""
    data = memoryview(DATA)[info.offset : end]
    begin = store.stage if end == STAGED else store.open
    writer: LedgerWriter = begin(info, fence=None)
    size = max(len(data) // 3, 1)
    try:
        for start in range(0, len(data), size):
            writer.write([bytes(data[start : start + size])])
    except StoreError:
        writer.close()
        raise
    return replace(info, offset=writer.close())


def live(store: LedgerStore, info: UploadInfo, tell: Tell) -> UploadInfo:
    """From where the upload stands to the end: append, declare the length, finish, complete."""
    for end in CUTS:
        if end > info.offset:
            info = append(store, info, end)
            tell("offset", info.offset)
    if info.length is None:
        info = store.declare_length(info, len(DATA))
    if info.state is State.OPEN:
        info = store.update(replace(info, state=State.FINISHING))
    if info.state is State.FINISHING:
        store.finish(info)
        info = store.update(replace(info, state=State.COMPLETE))
        tell("complete", info.offset)
    return info


def content(store: LedgerStore, info: UploadInfo) -> bytes:
    return b"".join(store.read(info, 0, info.length or 0))


@dataclass
class Heard:
    """What a client was told so far."""

    created: bool = False
    offset: int = 0
    complete: bool = False
    terminated: bool = False
    sent: list[str] = field(default_factory=list)

    def tell(self, what: str, offset: int) -> None:
        self.sent.append(what)
        if what == "offset":
            self.offset = offset
        else:
            setattr(self, what, True)


def recover(store: LedgerStore, upload_id: str, heard: Heard) -> UploadInfo:
    """HEAD after trouble, or a new creation if the first was never answered; checks what HEAD may say."""
    try:
        info = store.get(upload_id)
    except UploadGone:
        # A creation that was carried out after its client had given up, and been undone.
        assert not heard.created
        return recover(store, f"{upload_id}-2", heard)
    except UploadNotFound:
        assert not heard.created
        try:
            info = store.create(new_upload(upload_id))
        except UploadExists:
            info = store.get(upload_id)
        heard.created = True
    assert heard.offset <= info.offset <= len(DATA)
    assert not heard.complete or info.state is State.COMPLETE
    return info


def check_whole(store: LedgerStore, info: UploadInfo) -> None:
    """The upload is its source byte for byte, and finishing again changes nothing."""
    assert content(store, info) == DATA
    store.finish(info)
    assert store.get(info.id).offset == len(DATA)
    assert content(store, info) == DATA
