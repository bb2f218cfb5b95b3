"""Uploads on Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from azure.storage.blob import BlobServiceClient

from tuspy_server.backends.azure import BLOCK_SIZE_LIMIT, Container, Headers, Missing, Refused, Tier
from tuspy_server.errors import StoreFailed, UploadTooLarge
from tuspy_server.models import UploadInfo
from tuspy_server.stores.azure_blocks import BLOB_SIZE_LIMIT, small_block, whole_block
from tuspy_server.stores.ledger import Ledger, Piece
from tuspy_server.stores.ledger_objects import Found, content_type
from tuspy_server.stores.ledger_store import LedgerStore
from tuspy_server.stores.ledger_writer import PieceNames

_MiB: Final = 1024 * 1024


class AzureStore(LedgerStore):
    """Keeps uploads in a container of Azure Blob Storage; any number of processes and hosts may share it.

    A body is stored as uncommitted blocks of `block_size` bytes of the blob `<prefix><id>/data`, which appears when
    the upload is finished: the blocks that the upload's ledger names are committed, in its order, whatever else was
    staged. What is left of a body below `smallest` bytes stays in the ledger. Blocks grow where 50 000 of them would
    not hold the upload. Credentials as `backends.azure.connect` finds them; a Container may be given ready made.

    Azure drops uncommitted blocks a week after the last one was staged: an unfinished upload left alone for so long
    is UploadGone, never shorter. Unfinished uploads must not share a preset `key`, since a commit drops all
    uncommitted blocks of the blob.

    Memory: (`blocks_in_flight` + 2) * `block_size` for each running upload; `threads` blocks of all uploads are on
    their way at a time.

    `storage` of a hook may preset `key`, `content_type`, `content_disposition` and `cache_control`; without it the
    content type is the client's `filetype`. `tier` is the finished blobs' access tier. `redirect_downloads`: seconds
    for which a download's client gets a URL of the blob instead of its bytes; 0 to send the bytes. It needs the
    account's key, to sign with.
    """

    default_locker = "tuspy_server.lockers.azure:AzureLeaseLocker"
    kind = "azurestore"
    marker = "tus_upload"

    def __init__(
        self,
        container: str | Container,
        *,
        prefix: str = "",
        account: str | None = None,
        endpoint: str | None = None,
        client: BlobServiceClient | None = None,
        tier: Tier | None = None,
        block_size: int = 8 * _MiB,
        smallest: int = _MiB // 4,
        blocks_in_flight: int = 4,
        threads: int = 16,
        checkpoint_interval: float = 2.0,
        redirect_downloads: float = 0,
    ) -> None:
        if not 0 < smallest <= block_size <= BLOCK_SIZE_LIMIT:
            raise ValueError("AzureStore: 0 < smallest <= block_size <= 4000 MiB")
        if isinstance(container, str):
            container = Container(container, client=client, account=account, endpoint=endpoint)
        self.container = container
        self._block_size = block_size
        self._smallest = smallest
        self._tier: Tier | None = tier
        super().__init__(
            container,
            prefix,
            threads=threads,
            pieces_in_flight=blocks_in_flight,
            checkpoint_interval=checkpoint_interval,
            redirect_downloads=redirect_downloads,
        )

    def create(self, info: UploadInfo, /) -> UploadInfo:
        if info.length is not None and info.length > BLOB_SIZE_LIMIT:
            raise UploadTooLarge(f"a block blob holds at most {BLOB_SIZE_LIMIT} bytes")
        return super().create(info)

    def piece_size(self, ledger: Ledger, length: int | None) -> int:
        return whole_block(self._block_size, ledger, length)

    def smallest_piece(self, ledger: Ledger, length: int | None) -> int:
        return small_block(self._smallest, ledger, length)

    def put_piece(self, info: UploadInfo, piece: Piece, data: bytes) -> None:
        self.container.stage(info.storage["key"], self._block(info, piece), data)

    def drop_uncounted(self, info: UploadInfo, pieces: Sequence[Piece]) -> None:
        """Single blocks cannot be removed: the commit drops them, or `terminate`, or Azure after a week."""

    def _block(self, info: UploadInfo, piece: Piece) -> str:
        """All of one length, as Azure wants them."""
        return f"{self._mark(info)}.{piece.name}"

    def _folder(self, upload_id: str) -> str:
        """Azure takes no dot at the end of a path segment; `=` is in no id."""
        stem = upload_id.rstrip(".")
        return f"{self.prefix}{stem}{'=' * (len(upload_id) - len(stem))}/"

    def _is_intact(self, info: UploadInfo, ledger: Ledger) -> bool:
        there = self.container.blocks(info.storage["key"])
        return all(there.get(self._block(info, piece)) == piece.size for piece in ledger.pieces)

    def _publish(self, info: UploadInfo, ledger: Ledger, current: Found | None) -> bool:
        key, version = info.storage["key"], current.version if current is not None else None
        if not ledger.runs:
            with suppress(Refused):
                self.container.put(key, ledger.tail, version, self._headers(info))
                return True
            # Azurite takes uncommitted blocks that an aborted append left for a blob: a commit is not deceived.
        elif not self._is_intact(info, ledger):
            raise StoreFailed("blocks of the upload are gone")
        try:
            self.container.commit(key, self._all_blocks(info, ledger), version, self._headers(info))
        except Refused:
            return False
        except Missing as exc:
            raise StoreFailed("blocks of the upload are gone") from exc
        return True

    def _all_blocks(self, info: UploadInfo, ledger: Ledger) -> list[str]:
        blocks = [self._block(info, piece) for piece in ledger.pieces]
        if ledger.tail:
            last = PieceNames().new(len(ledger.tail))
            self.put_piece(info, last, ledger.tail)
            blocks.append(self._block(info, last))
        return blocks

    def _clean(self, info: UploadInfo, ledger: Ledger) -> None:
        """The commit left nothing."""

    def _purge(self, info: UploadInfo) -> None:
        names, key = self.names(info), info.storage["key"]
        versioned = self.container.is_versioned(names.info)
        self._remove_data(info, names.folder)
        for found in self.container.find(names.folder):
            if found.name != names.info:
                self.container.delete_if_match(found.name, found.version)
        if versioned:
            self.container.drop_versions(names.folder, lambda found: True)
            self.container.drop_versions(key, lambda found: found.name == key and self._is_marked(info, found))

    def _remove_record(self, info: UploadInfo, version: str) -> None:
        names = self.names(info)
        versioned = self.container.is_versioned(names.info)
        super()._remove_record(info, version)
        if versioned:
            self.container.drop_versions(names.folder, lambda found: True)

    def _remove_data(self, info: UploadInfo, folder: str) -> None:
        """Remove what is ours at the upload's key: the finished blob, or its uncommitted blocks."""
        key = info.storage["key"]
        found = self.container.head(key)
        if found is not None:
            if self._is_marked(info, found):
                self.container.delete_if_match(key, found.version)
            return
        mine = f"{self._mark(info)}."
        blocks = self.container.blocks(key)
        if blocks and (key.startswith(folder) or all(block.startswith(mine) for block in blocks)):
            # They cannot be deleted, but a blob of no blocks replaces them.
            with suppress(Refused):
                self.container.delete_if_match(key, self.container.commit(key, [], None, Headers()))

    def _headers(self, info: UploadInfo) -> Headers:
        return Headers(
            content_type=info.storage.get("content_type") or content_type(info.metadata),
            content_disposition=info.storage.get("content_disposition"),
            cache_control=info.storage.get("cache_control"),
            tier=self._tier,
            metadata={self.marker: self._mark(info)},
        )
