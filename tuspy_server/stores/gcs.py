"""Uploads on Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from tuspy_server.backends.gcs import Bucket, Headers, Missing, Refused
from tuspy_server.errors import RecordChanged, StoreError, StoreFailed, StoreUnavailable
from tuspy_server.models import UploadInfo
from tuspy_server.stores.gcs_compose import compose_new, compose_tree, full_group
from tuspy_server.stores.ledger import Ledger, Piece, decode_ledger
from tuspy_server.stores.ledger_objects import Found, content_type
from tuspy_server.stores.ledger_store import LedgerStore
from tuspy_server.stores.ledger_writer import PieceNames

_MiB: Final = 1024 * 1024
#: The level of a piece that was joined from whole uploads, so that nothing is ever packed with it.
_JOINED: Final = 1000


class GCSStore(LedgerStore):
    """Keeps uploads in a bucket of Google Cloud Storage; any number of processes and hosts may share it.

    A body is stored as pieces of `piece_size` bytes, each an object, that are composed into larger ones as they
    come and into `<prefix><id>/data` when the upload is finished. What is left of a body below `smallest` bytes
    stays in the upload's ledger. Credentials as `backends.gcs.Bucket` finds them; a Bucket may be given ready made.

    Memory: (`pieces_in_flight` + 2) * `piece_size` for each running upload; `threads` pieces of all uploads are on
    their way at a time.

    `storage` of a hook may preset `key`, `content_type`, `content_disposition`, `cache_control` and
    `storage_class`; without it the content type is the client's `filetype`. `redirect_downloads`: seconds for which a
    download's client gets a signed URL of the object instead of its bytes; 0 to send the bytes. It needs credentials
    that can sign, as a service account's key.
    """

    default_locker = "tuspy_server.lockers.object_store:ObjectStoreLocker"
    kind = "gcsstore"
    marker = "tus-upload"

    def __init__(
        self,
        bucket: str | Bucket,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        client: Any = None,
        piece_size: int = 8 * _MiB,
        smallest: int = _MiB // 4,
        pieces_in_flight: int = 4,
        threads: int = 16,
        checkpoint_interval: float = 2.0,
        redirect_downloads: float = 0,
    ) -> None:
        if not 0 < smallest <= piece_size:
            raise ValueError("GCSStore: 0 < smallest <= piece_size")
        self.bucket = Bucket(bucket, endpoint=endpoint, client=client) if isinstance(bucket, str) else bucket
        self._piece_size = piece_size
        self._smallest = smallest
        super().__init__(
            self.bucket,
            prefix,
            threads=threads,
            pieces_in_flight=pieces_in_flight,
            checkpoint_interval=checkpoint_interval,
            redirect_downloads=redirect_downloads,
        )

    def piece_size(self, ledger: Ledger, length: int | None) -> int:
        return self._piece_size

    def smallest_piece(self, ledger: Ledger, length: int | None) -> int:
        return self._smallest

    def put_piece(self, info: UploadInfo, piece: Piece, data: bytes) -> None:
        key = self.names(info).piece(piece)
        try:
            made: Found | None = self.bucket.put(key, data, "0", Headers())
        except Refused:
            # The name is this writer's alone: a try whose answer was lost had succeeded.
            made = self.bucket.head(key)
        if made is None or made.size != len(data):
            raise StoreFailed("a piece was stored with another size")

    def drop_uncounted(self, info: UploadInfo, pieces: Sequence[Piece]) -> None:
        with suppress(StoreError):
            stored = self.bucket.get(self.names(info).ledger)
            counted = {p.name for p in decode_ledger(stored.body).pieces} if stored else set()
            self._delete([self.names(info).piece(p) for p in pieces if p.name not in counted])

    def commit(self, info: UploadInfo, ledger: Ledger, version: str, names: PieceNames) -> tuple[Ledger, str]:
        packed, superfluous = self._packed(info, ledger, names)
        try:
            done = super().commit(info, packed, version, names)
        except RecordChanged:
            self.drop_uncounted(info, list(packed.pieces))
            raise
        with suppress(StoreError):
            # What stays costs space until the upload is finished, and nothing else.
            self._delete([self.names(info).piece(piece) for piece in superfluous])
        return done

    def _packed(self, info: UploadInfo, ledger: Ledger, names: PieceNames) -> tuple[Ledger, list[Piece]]:
        """The same bytes in fewer pieces, and the pieces that this makes superfluous."""
        pieces, superfluous = list(ledger.pieces), list[Piece]()
        while (span := full_group(pieces)) is not None:
            group = pieces[span.start : span.stop]
            larger = names.new(sum(piece.size for piece in group), group[0].level + 1)
            keys = self.names(info)
            try:
                compose_new(self.bucket, [keys.piece(piece) for piece in group], keys.piece(larger), larger.size)
            except (StoreUnavailable, Missing):
                # More pieces than need be are no fault. Where some are gone somebody else has moved on, and the
                # ledger's version will tell.
                break
            pieces[span.start : span.stop] = [larger]
            superfluous += group
        return (replace(Ledger.of(pieces), tail=ledger.tail), superfluous) if superfluous else (ledger, [])

    def _is_intact(self, info: UploadInfo, ledger: Ledger) -> bool:
        names = self.names(info)
        there = {found.name: found.size for found in self.bucket.find(f"{names.folder}{names.nonce}.")}
        return all(there.get(names.piece(piece)) == piece.size for piece in ledger.pieces)

    def _publish(self, info: UploadInfo, ledger: Ledger, current: Found | None) -> bool:
        version = current.version if current is not None else "0"
        headers = self._headers(info)
        try:
            if ledger.runs:
                sources = self._sources(info, ledger)
                made = self.bucket.compose(sources, info.storage["key"], version, headers)
            else:
                made = self.bucket.put(info.storage["key"], ledger.tail, version, headers)
        except Refused:
            return False
        except Missing as exc:
            raise StoreFailed("a piece of the upload is gone") from exc
        if made.size != info.length:
            raise StoreFailed(f"an upload of {info.length} bytes was joined to {made.size}")
        return True

    def _sources(self, info: UploadInfo, ledger: Ledger) -> list[str]:
        """At most 32 objects that hold all bytes of the upload."""
        keys, names = self.names(info), PieceNames()
        pieces = list(ledger.pieces)
        if ledger.tail:
            pieces.append(names.new(len(ledger.tail)))
            self.put_piece(info, pieces[-1], ledger.tail)
        sources = [(keys.piece(piece), piece.size) for piece in pieces]
        return compose_tree(self.bucket, sources, lambda size: keys.piece(names.new(size)))

    def _join(self, info: UploadInfo, parts: Sequence[UploadInfo], version: str) -> int:
        for part in parts:
            if not self._is_ours(part, self.bucket.head(part.storage["key"])):
                self.finish(part)
        keys, names = self.names(info), PieceNames()
        sources = [(part.storage["key"], part.length or 0) for part in parts]
        if not sources:
            return super()._join(info, parts, version)
        whole = names.new(sum(size for _, size in sources), _JOINED)
        try:
            top = compose_tree(self.bucket, sources, lambda size: keys.piece(names.new(size)))
            compose_new(self.bucket, top, keys.piece(whole), whole.size)
        except Missing as exc:
            raise StoreFailed("a partial upload is gone") from exc
        return super().commit(info, Ledger.of([whole]), version, names)[0].offset

    def _clean(self, info: UploadInfo, ledger: Ledger) -> None:
        names = self.names(info)
        pieces = self.bucket.find(f"{names.folder}{names.nonce}.")
        self._delete_found([found for found in pieces if found.name != names.ledger])

    def _purge(self, info: UploadInfo) -> None:
        names = self.names(info)
        key = info.storage["key"]
        found = self.bucket.head(key)
        if found is not None and self._is_marked(info, found):
            self.bucket.delete_if_match(key, found.version)
        self._delete_found([found for found in self.bucket.find(names.folder) if found.name != names.info])

    def _delete(self, keys: Sequence[str]) -> None:
        """Objects whose names nobody uses again."""
        _await_all([self.pool.submit(self.bucket.delete, [key]) for key in keys])

    def _delete_found(self, objects: Sequence[Found]) -> None:
        """Each as it was listed: a request that is carried out late harms no upload that takes the id anew."""
        delete = self.bucket.delete_if_match
        _await_all([self.pool.submit(delete, found.name, found.version) for found in objects])

    def _headers(self, info: UploadInfo) -> Headers:
        return Headers(
            content_type=info.storage.get("content_type") or content_type(info.metadata),
            content_disposition=info.storage.get("content_disposition"),
            cache_control=info.storage.get("cache_control"),
            storage_class=info.storage.get("storage_class"),
            metadata={self.marker: self._mark(info)},
        )


def _await_all(calls: Sequence[Future[Any]]) -> None:
    """Wait until all have ended, then raise what the first of them did that failed."""
    wait(calls)
    for call in calls:
        call.result()
