"""GCSStore's promises, on fake-gcs-server behind our rules (tests/servers/gcs)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.servers.gcs import GCSServer, gcs_server
from tests.servers.proxy import Call, Proxy
from tests.stores.ledger_promises import PIECE, SMALLEST, PromiseSuite, source
from tests.stores.ledger_scenario import content
from tuspy_server.errors import RecordChanged
from tuspy_server.models import Kind, UploadInfo
from tuspy_server.stores.gcs import GCSStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


class TestGCSPromises(PromiseSuite):
    @pytest.fixture(autouse=True)
    def _on(self, server: GCSServer) -> None:
        self.server = server

    def is_piece(self, call: Call) -> bool:
        name = call.body[:1000]
        return call.path.startswith("/upload") and not any(part in name for part in (b"/info", b".ledger", b"/data"))

    def new_place(self) -> str:
        return self.server.new_bucket()

    def make(self, place: str, *, piece: int = PIECE, smallest: int = SMALLEST, timeout: float = 60.0) -> GCSStore:
        bucket = self.server.bucket(place, timeout=timeout)
        return GCSStore(
            bucket, piece_size=piece, smallest=smallest, pieces_in_flight=2, threads=4, checkpoint_interval=1e9
        )

    def proxy(self) -> Proxy:
        return self.server.proxy

    def stored(self, place: str) -> list[str]:
        return self.server.names(place)

    def overwrite(self, place: str, name: str, data: bytes) -> None:
        self.server.admin.bucket(place).blob(name).upload_from_string(data)

    def content_type(self, place: str, name: str) -> str:
        found: str = self.server.admin.bucket(place).get_blob(name).content_type
        return found

    def lose_pieces(self, place: str, info: UploadInfo) -> None:
        for name in self.stored(place):
            if not name.endswith(("/info", ".ledger")):
                self.server.admin.bucket(place).blob(name).delete()

    def test_no_request_composes_more_than_32_objects_and_few_remain(self, place: str) -> None:
        store = self.make(place, piece=10, smallest=1)
        data = source(10 * (32 * 32 + 40) + 3)
        composed: list[int] = []

        def note(call: Call) -> None:
            if call.path.partition("?")[0].endswith("/compose"):
                composed.append(len(json.loads(call.body)["sourceObjects"]))

        info = store.create(self.new(length=len(data)))
        self.proxy().before = note
        try:
            for start in range(0, len(data), 4000):
                info = self.append(store, info, data[start : start + 4000])
                assert len(self.stored(place)) <= 2 + 3 * 31
            store.finish(info)
        finally:
            self.proxy().before = lambda call: None
        assert max(composed) == 32
        assert len(composed) == 33 + 1 + 1
        assert content(store, info) == data
        assert sorted(name.partition(".")[2] for name in self.stored(place)) == ["", "", "ledger"]

    def test_a_writer_that_wakes_up_after_the_end_leaves_no_composed_piece(self, place: str) -> None:
        store = self.make(place, piece=10, smallest=1)
        info = store.create(self.new())
        sleeper = store.open(info, fence=None)
        sleeper.write([source(400)])
        store.terminate(info)
        with pytest.raises(RecordChanged):
            sleeper.close()
        assert self.stored(place) == []

    def test_parts_are_joined_on_the_server(self, store: GCSStore, place: str) -> None:
        parts = [self.finished(store, source(PIECE * n, n), f"p{n}", kind=Kind.PARTIAL) for n in range(1, 4)]
        info = store.create(self.new("f", sum(p.length or 0 for p in parts), kind=Kind.FINAL))
        sent: list[int] = []
        self.proxy().before = lambda call: sent.append(len(call.body))
        try:
            info = store.concat(info, parts)
            store.finish(info)
        finally:
            self.proxy().before = lambda call: None
        assert max(sent) < 1000
        assert content(store, info) == b"".join(source(PIECE * n, n) for n in range(1, 4))

    def test_two_finishes_at_one_key_leave_one_upload_whole(self, store: GCSStore) -> None:
        infos = []
        for n in range(2):
            info = store.create(replace(self.new(f"u{n}", 2 * PIECE), storage={"key": "shared"}))
            infos.append(self.append(store, info, source(2 * PIECE, n)))
        for n, info in enumerate(infos):
            store.finish(info)
            assert content(store, info) == source(2 * PIECE, n)
