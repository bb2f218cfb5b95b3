"""What a store on an object service does once each piece of an upload is counted by a ledger."""

from __future__ import annotations

import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from tuspy_server.errors import RecordChanged, StoreError, StoreFailed, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import EPOCH, State, UploadInfo
from tuspy_server.stores.ledger import Ledger, Piece, decode_ledger, encode_ledger
from tuspy_server.stores.ledger_objects import Found, Names, Objects, Stored
from tuspy_server.stores.ledger_pool import PiecePool
from tuspy_server.stores.ledger_record import decode_record, encode_record, is_upload_id
from tuspy_server.stores.ledger_writer import LedgerStagedWriter, LedgerWriter, PieceNames

_LONGEST_REDIRECT: Final = 7 * 24 * 3600
_READ_SIZE: Final = 4 * 1024 * 1024
_EXPIRES: Final = "tus_expires"


class LedgerStore(ABC):
    """Base of GCSStore and AzureStore: everything but how pieces are stored and joined.

    `fence` is not looked at: a conditional write of the ledger decides between two writers, and does so even
    where the locker has no tokens or was exchanged for another.
    """

    finishes = True
    slides = True
    kind: str
    marker: str

    def __init__(
        self,
        objects: Objects,
        prefix: str,
        *,
        threads: int,
        pieces_in_flight: int,
        checkpoint_interval: float,
        redirect_downloads: float,
    ) -> None:
        if pieces_in_flight < 1:
            raise ValueError("pieces_in_flight must be at least 1")
        if not 0 <= redirect_downloads <= _LONGEST_REDIRECT:
            raise ValueError(f"redirect_downloads is at most {_LONGEST_REDIRECT} seconds, and 0 is off")
        if redirect_downloads and not objects.signs:
            raise ValueError("redirect_downloads needs the key of an account or of a service account, to sign with")
        self.prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self.pool = PiecePool(threads)
        self.pieces_in_flight = pieces_in_flight
        self.checkpoint_interval = checkpoint_interval
        self._objects = objects
        self._redirect_downloads = math.ceil(redirect_downloads)

    # What differs from service to service

    @abstractmethod
    def piece_size(self, ledger: Ledger, length: int | None) -> int:
        """Bytes of the next whole piece behind those of `ledger`."""

    @abstractmethod
    def smallest_piece(self, ledger: Ledger, length: int | None) -> int:
        """Fewer bytes than this are kept in the ledger's tail, for a later piece."""

    @abstractmethod
    def put_piece(self, info: UploadInfo, piece: Piece, data: bytes) -> None:
        """Store a piece. Raises StoreError; then it may be stored or not."""

    @abstractmethod
    def drop_uncounted(self, info: UploadInfo, pieces: Sequence[Piece]) -> None:
        """Remove those of `pieces` that the present ledger does not name, as far as that is possible now."""

    @abstractmethod
    def _is_intact(self, info: UploadInfo, ledger: Ledger) -> bool:
        """Whether every piece of an unfinished upload is still there."""

    @abstractmethod
    def _publish(self, info: UploadInfo, ledger: Ledger, current: Found | None) -> bool:
        """Join the pieces into the finished object in place of `current`; False if that changed meanwhile.

        Raises StoreFailed if the result is not of the upload's length.
        """

    @abstractmethod
    def _clean(self, info: UploadInfo, ledger: Ledger) -> None:
        """Remove the pieces of a finished upload."""

    @abstractmethod
    def _purge(self, info: UploadInfo) -> None:
        """Remove all objects of an upload but its record."""

    def _folder(self, upload_id: str) -> str:
        return f"{self.prefix}{upload_id}/"

    # DataStore

    def create(self, info: UploadInfo, /) -> UploadInfo:
        folder = self._folder(_checked(info.id))
        storage = {"key": f"{folder}data", **info.storage, "type": self.kind, "nonce": secrets.token_hex(8)}
        info = replace(info, storage=storage, offset=0)
        names, record = self.names(info), encode_record(info)
        self._put_first_ledger(names)
        try:
            revision = self._objects.put_if_absent(names.info, record, metadata=_expiry(info))
        except StoreError:
            self._undo_creation(names, record)
            raise
        if revision is None:
            self._try_delete([names.ledger])
            raise UploadExists
        return replace(info, revision=revision)

    def get(self, upload_id: str, /) -> UploadInfo:
        info = self._record(upload_id)
        if info.state is State.GONE:
            raise UploadGone
        return self._measured(info)

    def update(self, info: UploadInfo, /) -> UploadInfo:
        key = f"{self._folder(_checked(info.id))}info"
        revision = info.revision and self._objects.put_if_match(
            key, encode_record(info), info.revision, metadata=_expiry(info)
        )
        if not revision:
            if self._objects.get(key) is None:
                raise UploadNotFound
            raise RecordChanged
        return replace(info, revision=revision)

    def open(self, info: UploadInfo, /, *, fence: int | None) -> LedgerWriter:
        return LedgerWriter(self, info, *self._at_offset(info))

    def finish(self, info: UploadInfo, /) -> None:
        ledger = self._ledger(info)[0]
        if info.length is None or ledger.offset != info.length:
            raise StoreFailed(f"an upload of {info.length} bytes has {ledger.offset} and cannot be finished")
        current = self._objects.head(info.storage["key"])
        if not self._is_ours(info, current):
            self._publish_once(info, ledger, current)
        self._clean(info, ledger)

    # Capabilities

    def stage(self, info: UploadInfo, /, *, fence: int | None) -> LedgerStagedWriter:
        return LedgerStagedWriter(self, info, *self._at_offset(info))

    def terminate(self, info: UploadInfo, /) -> None:
        names = self.names(info)
        stored = self._objects.get(names.info)
        if stored is None:
            self._purge(info)
            return
        present = _readable(stored, info)
        if present.storage.get("nonce") != info.storage.get("nonce"):
            return
        keep = info.state is State.GONE and info.expires is not None
        grave = replace(info, state=State.GONE, expires=info.expires if keep else EPOCH)
        version = self._objects.put_if_match(names.info, encode_record(grave), stored.version, metadata=_expiry(grave))
        if version is None:
            raise RecordChanged
        self._purge(info)
        if not keep:
            self._remove_record(info, version)

    def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        return self.update(replace(info, length=length))

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        for part in parts:
            self._check_part(part)
        ledger, version = self._ledger(info)
        total = sum(part.length or 0 for part in parts)
        if total and ledger.offset == total and self._is_intact(info, ledger):
            return replace(info, offset=total)
        offset = self._join(info, [part for part in parts if part.length], version)
        if offset != total:
            raise StoreFailed(f"partial uploads of {total} bytes were joined to {offset}")
        return replace(info, offset=offset)

    def uploads(self) -> Iterator[UploadInfo]:
        """Every upload, tombstones too, by id; what is no readable record is passed over."""
        for found in self._objects.find(self.prefix):
            folder, _, name = found.name.removeprefix(self.prefix).partition("/")
            if name == "info" and (info := self._read_listed(folder)) is not None:
                yield info

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        for found in self._objects.find(self.prefix):
            folder, _, name = found.name.removeprefix(self.prefix).partition("/")
            listed = found.metadata.get(_EXPIRES)
            if name != "info" or not listed or datetime.fromisoformat(listed) > now:
                continue
            info = self._due(folder, now)
            if info is not None:
                yield info

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        key = info.storage.get("key", "")
        found = self._objects.head(key) if key else None
        if found is None or not self._is_ours(info, found):
            raise UploadGone
        while start < stop:
            piece = self._objects.read(key, start, min(start + _READ_SIZE, stop), found.version)
            if not piece:
                raise UploadGone
            yield piece
            start += len(piece)

    def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> str | None:
        if not self._redirect_downloads:
            return None
        return self._objects.presigned(info.storage["key"], self._redirect_downloads, headers)

    # What these share

    def names(self, info: UploadInfo) -> Names:
        """Where the upload's objects lie. Raises UploadNotFound for one that this store did not create."""
        nonce = info.storage.get("nonce")
        if nonce is None:
            raise UploadNotFound
        return Names(self._folder(_checked(info.id)), nonce)

    def commit(self, info: UploadInfo, ledger: Ledger, version: str, names: PieceNames) -> tuple[Ledger, str]:
        """Make `ledger` the truth if the stored one is still `version`; return it as stored and its version."""
        ledger = replace(ledger, stamp=secrets.token_hex(8), at=datetime.now(UTC))
        new = self._objects.put_if_match(self.names(info).ledger, encode_ledger(ledger), version)
        if new is None:
            raise RecordChanged
        return ledger, new

    def _publish_once(self, info: UploadInfo, ledger: Ledger, current: Found | None) -> None:
        if self._publish(info, ledger, current):
            return
        # An earlier try may have succeeded without an answer; else something of another origin is there now.
        if not self._is_ours(info, self._objects.head(info.storage["key"])):
            raise RecordChanged

    def _remove_record(self, info: UploadInfo, version: str) -> None:
        """The last step of a termination without a tombstone."""
        self._objects.delete_if_match(self.names(info).info, version)

    def _check_part(self, part: UploadInfo) -> None:
        try:
            offset = self._ledger(part)[0].offset
        except UploadNotFound as exc:
            raise StoreFailed("a partial upload vanished") from exc
        if offset != part.length:
            raise StoreFailed("a partial upload is short")

    def _join(self, info: UploadInfo, parts: Sequence[UploadInfo], version: str) -> int:
        """Make the ledger of `info` name the bytes of `parts`; return their number."""
        writer = LedgerStagedWriter(self, info, Ledger(), version)
        try:
            for part in parts:
                for piece in self.read(part, 0, part.length or 0):
                    writer.write([piece])
            return writer.close()
        except BaseException:
            writer.discard()
            raise

    def _is_ours(self, info: UploadInfo, found: Found | None) -> bool:
        return found is not None and found.size == info.length and self._is_marked(info, found)

    def _is_marked(self, info: UploadInfo, found: Found) -> bool:
        return found.metadata.get(self.marker) == self._mark(info)

    def _mark(self, info: UploadInfo) -> str:
        """What the finished object's metadata says of the upload it is."""
        return info.storage["nonce"]

    def _record(self, upload_id: str) -> UploadInfo:
        stored = self._objects.get(f"{self._folder(_checked(upload_id))}info")
        if stored is None:
            raise UploadNotFound
        return decode_record(stored.body, stored.version)

    def _ledger(self, info: UploadInfo) -> tuple[Ledger, str]:
        stored = self._objects.get(self.names(info).ledger)
        if stored is None:
            raise UploadNotFound
        return decode_ledger(stored.body), stored.version

    def _at_offset(self, info: UploadInfo) -> tuple[Ledger, str]:
        ledger, version = self._ledger(info)
        if ledger.offset != info.offset:
            raise RecordChanged
        return ledger, version

    def _measured(self, info: UploadInfo) -> UploadInfo:
        """With the true offset. A complete upload is answered from its record alone, wherever its bytes are now."""
        if info.state is State.COMPLETE:
            return replace(info, offset=info.length or 0)
        try:
            ledger = self._ledger(info)[0]
        except UploadNotFound as exc:
            raise UploadGone("the upload's ledger was removed") from exc
        if info.state is not State.FAILED and not self._is_held(info, ledger):
            raise UploadGone("pieces of the upload were removed")
        limits = info.limits
        if limits.sliding and limits.max_age is not None and info.expires is not None:
            info = replace(info, expires=max(info.created, ledger.at) + timedelta(seconds=limits.max_age))
        return replace(info, offset=ledger.offset)

    def _is_held(self, info: UploadInfo, ledger: Ledger) -> bool:
        """Whether the counted bytes are there: as pieces, or as the finished object after a crash in between."""
        if not ledger.runs or self._is_intact(info, ledger):
            return True
        return ledger.offset == info.length and self._is_ours(info, self._objects.head(info.storage["key"]))

    def _due(self, upload_id: str, now: datetime) -> UploadInfo | None:
        info = self._read_listed(upload_id)
        return info if info is not None and info.expires is not None and info.expires <= now else None

    def _read_listed(self, upload_id: str) -> UploadInfo | None:
        """An upload whose record was listed; one that lost its bytes too, so that its record can go."""
        try:
            info = self._record(upload_id)
        except UploadNotFound:
            return None
        if info.state is not State.GONE:
            with suppress(UploadGone):
                info = self._measured(info)
        return info

    def _put_first_ledger(self, names: Names) -> None:
        body = encode_ledger(Ledger(stamp=names.nonce, at=datetime.now(UTC)))
        if self._objects.put_if_absent(names.ledger, body) is None:
            raise StoreFailed("a new upload's ledger is already there")

    def _undo_creation(self, names: Names, record: bytes) -> None:
        """After a creation that nobody will hear of, remove what of it arrived, as far as possible now."""
        with suppress(StoreError):
            stored = self._objects.get(names.info)
            if stored is not None and stored.body == record:
                self._objects.delete_if_match(names.info, stored.version)
            self._objects.delete([names.ledger])

    def _try_delete(self, keys: Sequence[str]) -> None:
        """Remove leftovers that nothing refers to; one that stays costs space and nothing else."""
        with suppress(StoreError):
            self._objects.delete(keys)


def _checked(upload_id: str) -> str:
    if not is_upload_id(upload_id):
        raise UploadNotFound
    return upload_id


def _expiry(info: UploadInfo) -> Mapping[str, str]:
    """Listed with the record, so that finding what expired reads no record that did not."""
    return {_EXPIRES: info.expires.isoformat()} if info.expires is not None else {}


def _readable(stored: Stored, info: UploadInfo) -> UploadInfo:
    """The stored record, or `info` if what is stored cannot be read: it should go all the same."""
    try:
        return decode_record(stored.body, stored.version)
    except UploadGone:
        return info
