"""AzureStore's promises, on Azurite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from azure.storage.blob import BlobClient

from tests.servers.azurite import AzureServer, azure_server
from tests.servers.proxy import Call, Proxy
from tests.stores.ledger_promises import NOW, PIECE, SMALLEST, PromiseSuite, source
from tests.stores.ledger_scenario import content
from tuspy_server.errors import UploadTooLarge
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.azure import AzureStore
from tuspy_server.stores.azure_blocks import BLOB_SIZE_LIMIT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


class TestAzurePromises(PromiseSuite):
    @pytest.fixture(autouse=True)
    def _on(self, server: AzureServer) -> None:
        self.server = server

    def is_piece(self, call: Call) -> bool:
        return call.method == "PUT" and "comp=block&" in f"{call.path}&"

    def new_place(self) -> str:
        return self.server.container().name

    def make(self, place: str, *, piece: int = PIECE, smallest: int = SMALLEST, timeout: float = 60.0) -> AzureStore:
        container = self.server.container(place, timeout=timeout)
        return AzureStore(
            container, block_size=piece, smallest=smallest, blocks_in_flight=2, threads=4, checkpoint_interval=1e9
        )

    def proxy(self) -> Proxy:
        return self.server.proxy

    def stored(self, place: str) -> list[str]:
        return self.server.names(place)

    def blob(self, place: str, name: str) -> BlobClient:
        return self.server.client().get_blob_client(place, name)

    def overwrite(self, place: str, name: str, data: bytes) -> None:
        self.blob(place, name).upload_blob(data, overwrite=True)

    def content_type(self, place: str, name: str) -> str:
        return str(self.blob(place, name).get_blob_properties().content_settings.content_type)

    def lose_pieces(self, place: str, info: UploadInfo) -> None:
        """As Azure does a week after the last block."""
        blob = self.blob(place, info.storage["key"])
        blob.commit_block_list([])
        blob.delete_blob()

    def test_the_blob_appears_only_when_the_upload_is_finished(self, store: AzureStore, place: str) -> None:
        info = self.append(store, store.create(self.new(length=3 * PIECE)), source(3 * PIECE))
        assert not self.blob(place, info.storage["key"]).exists()
        store.finish(info)
        assert self.blob(place, info.storage["key"]).download_blob().readall() == source(3 * PIECE)

    def test_row_10_committed_blocks_of_an_earlier_upload_of_the_id_do_not_count(
        self, store: AzureStore, place: str
    ) -> None:
        old = self.finished(store, source(4 * PIECE, 3))
        store.container.delete([store.names(old).info, store.names(old).ledger])
        info = store.create(self.new(length=2 * PIECE))
        assert store.get(info.id).offset == 0
        info = self.append(store, info, source(PIECE))
        assert store.get(info.id).offset == PIECE
        info = self.append(store, info, source(2 * PIECE)[PIECE:])
        store.finish(info)
        assert content(store, info) == source(2 * PIECE)

    @pytest.fixture
    def versioned(self, place: str) -> str:
        """A container that keeps earlier versions, as far as the proxy models it (tests/servers/azure_rules)."""
        self.server.rules.versioned.add(place)
        return place

    def test_row_10_a_blob_overwritten_in_a_versioned_container_is_the_new_upload(
        self, store: AzureStore, versioned: str
    ) -> None:
        self.overwrite(versioned, "a/data", source(9 * PIECE, 5))
        info = store.create(self.new(length=2 * PIECE + 1))
        assert store.get(info.id).offset == 0
        info = self.append(store, info, source(PIECE))
        assert store.get(info.id).offset == PIECE
        info = self.append(store, info, source(2 * PIECE + 1)[PIECE:])
        store.finish(info)
        store.finish(info)
        assert store.get(info.id).offset == 2 * PIECE + 1
        assert content(store, info) == source(2 * PIECE + 1)

    def test_terminate_removes_every_version(self, store: AzureStore, versioned: str) -> None:
        self.overwrite(versioned, "ab/data", b"1")
        self.overwrite(versioned, "ab/data", b"2")
        info = self.finished(store, source(2 * PIECE + 1))
        assert {"a/info"} < set(self.server.rules.versions(versioned))
        store.terminate(info)
        assert self.stored(versioned) == ["ab/data"]
        assert self.server.rules.versions(versioned) == ["ab/data"]

    def test_a_tombstone_keeps_no_version_of_the_record(self, store: AzureStore, versioned: str) -> None:
        info = self.finished(store, source(2 * PIECE + 1), storage={"key": "there"})
        grave = replace(info, state=State.GONE, expires=NOW)
        store.terminate(grave)
        assert self.stored(versioned) == ["a/info"]
        assert self.server.rules.versions(versioned) == []
        store.terminate(replace(grave, expires=None))
        assert self.stored(versioned) == []
        assert self.server.rules.versions(versioned) == []

    def test_a_length_that_no_block_blob_holds_is_refused(self, store: AzureStore) -> None:
        with pytest.raises(UploadTooLarge):
            store.create(self.new(length=BLOB_SIZE_LIMIT + 1))
