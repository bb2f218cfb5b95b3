"""What the stores on Google Cloud Storage and Azure promise beyond StoreSuite; a subclass says where."""

from __future__ import annotations

import tracemalloc
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from tests.servers.proxy import Answer, Call, Fault, Forward, Plan, Proxy
from tests.stores.ledger_scenario import content
from tuspy_server.errors import RecordChanged, StoreError, StoreUnavailable, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import Limits, State, UploadInfo
from tuspy_server.stores.ledger_store import LedgerStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KiB = 1024
#: Bytes of a piece in these tests, and below which bytes stay in the ledger.
PIECE, SMALLEST = 1000, 100


def source(size: int, seed: int = 1) -> bytes:
    return bytes((n * 31 + seed * 97) % 251 for n in range(size))


class PromiseSuite:
    """Every test has a place and a proxy of its own to itself."""

    @abstractmethod
    def is_piece(self, call: Call) -> bool:
        """Whether a call stores a piece."""

    @abstractmethod
    def new_place(self) -> str: ...

    @abstractmethod
    def make(self, place: str, *, piece: int = PIECE, smallest: int = SMALLEST, timeout: float = 60.0) -> LedgerStore:
        """A store whose SDK repeats nothing, with two pieces in flight and no checkpoints."""

    @abstractmethod
    def proxy(self) -> Proxy: ...

    @abstractmethod
    def stored(self, place: str) -> list[str]: ...

    @abstractmethod
    def overwrite(self, place: str, name: str, data: bytes) -> None:
        """Somebody else puts an object there."""

    @abstractmethod
    def content_type(self, place: str, name: str) -> str: ...

    @abstractmethod
    def lose_pieces(self, place: str, info: UploadInfo) -> None:
        """Remove an unfinished upload's pieces behind the store's back."""

    @pytest.fixture
    def place(self) -> str:
        return self.new_place()

    @pytest.fixture
    def store(self, place: str) -> LedgerStore:
        return self.make(place)

    def new(self, upload_id: str = "a", length: int | None = None, **fields: Any) -> UploadInfo:
        return replace(UploadInfo(id=upload_id, length=length, created=NOW), **fields)

    def append(self, store: LedgerStore, info: UploadInfo, data: bytes) -> UploadInfo:
        """One request; what was stored before an error is kept, as the engine does."""
        writer = store.open(info, fence=None)
        try:
            writer.write([data])
        except StoreError:
            writer.close()
            raise
        return replace(info, offset=writer.close())

    def finished(self, store: LedgerStore, data: bytes, upload_id: str = "a", **fields: object) -> UploadInfo:
        info = self.append(store, store.create(self.new(upload_id, len(data), **fields)), data)
        store.finish(info)
        return store.update(replace(info, state=State.COMPLETE))

    # Data loss and corruption (tusd.md 14.2, servers-and-clients.md 3)

    def test_row_12_every_byte_below_an_offset_can_be_read_after_a_failed_append(self, store: LedgerStore) -> None:
        for broken in range(6):
            info = store.create(self.new(f"a{broken}"))
            data = source(6 * PIECE, broken)
            with self.proxy().failing(self._piece_fails(data, broken)), pytest.raises(StoreUnavailable):
                self.append(store, info, data)
            kept = store.get(info.id)
            assert kept.offset == broken * PIECE
            info = store.declare_length(kept, kept.offset)
            store.finish(info)
            assert content(store, info) == data[: kept.offset]

    def test_a_piece_that_failed_before_others_is_a_gap_and_ends_the_offset(self, store: LedgerStore) -> None:
        data = source(5 * PIECE + 1)
        info = store.create(self.new(length=len(data)))
        writer = store.open(info, fence=None)
        with self.proxy().failing(self._piece_fails(data, 1)), pytest.raises(StoreUnavailable):
            writer.write([data])
        assert writer.close() == store.get(info.id).offset == PIECE
        info = self.append(store, store.get(info.id), data[PIECE:])
        store.finish(info)
        assert content(store, info) == data

    def test_a_failure_met_by_a_checkpoint_is_told_by_close(self, store: LedgerStore) -> None:
        store.checkpoint_interval = 0
        store.pieces_in_flight = 1
        data = source(2 * PIECE)
        writer = store.open(store.create(self.new(length=len(data))), fence=None)
        with self.proxy().failing(self._piece_fails(data, 1)):
            writer.write([data])
            with pytest.raises(StoreUnavailable):
                writer.close()
        assert store.get("a").offset == PIECE

    def test_g1_an_append_that_breaks_at_offset_0_leaves_the_upload(self, store: LedgerStore) -> None:
        data = source(3 * PIECE)
        info = store.create(self.new(length=len(data)))
        with self.proxy().failing(self._piece_fails(data, 0)), pytest.raises(StoreUnavailable):
            self.append(store, info, data)
        abandoned = store.open(info, fence=None)
        abandoned.write([data[:10]])
        assert store.get(info.id) == info
        info = self.append(store, info, data)
        store.finish(info)
        assert content(store, info) == data

    def test_a1_a_body_is_stored_in_pieces_while_it_arrives(self, store: LedgerStore) -> None:
        info = store.create(self.new())
        sizes: list[int] = []
        self.proxy().before = lambda call: sizes.append(len(call.body)) if self.is_piece(call) else None
        try:
            writer = store.open(info, fence=None)
            for n in range(10):
                writer.write([source(PIECE, n)])
                assert len(sizes) >= n - 1
            writer.close()
        finally:
            self.proxy().before = lambda call: None
        assert len(sizes) == 10
        assert max(sizes) < 2 * PIECE

    def test_row_19_an_id_that_is_taken_is_refused_and_its_bytes_stay(self, store: LedgerStore, place: str) -> None:
        data = source(3 * PIECE)
        info = self.append(store, store.create(self.new(length=len(data))), data[: 2 * PIECE + 5])
        before = self.stored(place)
        with pytest.raises(UploadExists):
            store.create(self.new(length=5))
        assert self.stored(place) == before
        info = self.append(store, store.get("a"), data[info.offset :])
        store.finish(info)
        assert content(store, info) == data

    def test_row_19_terminating_a_leaves_ab_alone(self, store: LedgerStore, place: str) -> None:
        data = source(3 * PIECE)
        alike = [
            self.append(store, store.create(self.new(name, len(data))), data[:PIECE])
            for name in ("ab", "a_", "a.", "a-1")
        ]
        info = self.append(store, store.create(self.new("a")), data)
        store.terminate(info)
        for kept in alike:
            assert store.get(kept.id) == kept
            full = self.append(store, kept, data[PIECE:])
            store.finish(full)
            assert content(store, full) == data
            store.terminate(full)
        assert self.stored(place) == []

    @pytest.mark.parametrize(
        "upload_id", ["a_b", "a_0", "x.info", "info", "data", "a.ledger", "_tmp_0_1", "0" * 128, "-~."]
    )
    def test_quirk_34_any_id_and_an_empty_upload_work(self, store: LedgerStore, place: str, upload_id: str) -> None:
        empty = self.finished(store, b"", upload_id)
        assert content(store, empty) == b""
        assert store.get(upload_id) == empty
        store.terminate(empty)
        full = self.finished(store, source(2 * PIECE + 1), upload_id)
        assert content(store, full) == source(2 * PIECE + 1)
        store.terminate(full)
        assert self.stored(place) == []

    def test_row_9_pieces_of_an_aborted_append_are_never_taken_for_another_s(self, store: LedgerStore) -> None:
        info = store.create(self.new(length=4 * PIECE))
        aborted = store.open(info, fence=1)
        aborted.write([source(3 * PIECE, 7)])
        info = self.append(store, info, source(2 * PIECE))
        assert store.get(info.id).offset == 2 * PIECE
        info = self.append(store, info, source(4 * PIECE)[2 * PIECE :])
        store.finish(info)
        assert content(store, info) == source(4 * PIECE)

    @pytest.mark.parametrize("size", [2 * PIECE + 1, 7])
    @pytest.mark.parametrize("fault", [Fault.RESET, Fault.ERROR_503, Fault.LOST, Fault.ERROR_AFTER])
    def test_row_4_an_end_that_failed_is_made_good_later(self, store: LedgerStore, fault: Fault, size: int) -> None:
        info = self.append(store, store.create(self.new(length=size)), source(size))
        struck: list[str] = []

        def plan(_: int, call: Call) -> Fault | None:
            about = unquote(call.path).encode() + call.body[:1000]
            if struck or call.method not in ("POST", "PUT") or b"a/data" not in about or self.is_piece(call):
                return None
            struck.append(str(call))
            return fault

        with self.proxy().failing(plan), suppress(StoreError):
            store.finish(info)
            assert content(store, info) == source(size), "finished, and nothing is there"
        assert struck
        assert store.get(info.id).offset == size
        store.finish(info)
        assert content(store, info) == source(size)

    @pytest.mark.parametrize("first", ["sleeper", "heir"])
    def test_row_8_of_two_writers_at_one_offset_one_wins_whole(self, store: LedgerStore, first: str) -> None:
        info = store.create(self.new(length=5 * PIECE))
        writers = {"sleeper": store.open(info, fence=1), "heir": store.open(info, fence=2)}
        for piece in range(5):
            for seed, writer in enumerate(writers.values()):
                writer.write([source(5 * PIECE, seed)[piece * PIECE :][:PIECE]])
        assert writers.pop(first).close() == 5 * PIECE
        ((other, writer),) = writers.items()
        with pytest.raises(RecordChanged):
            writer.close()
        with pytest.raises(RecordChanged):
            writer.close()
        store.finish(store.get(info.id))
        assert content(store, info) == source(5 * PIECE, ["heir", "sleeper"].index(other))

    def test_a_ledger_that_lands_after_a_newer_one_changes_nothing(self, place: str) -> None:
        impatient, store = self.make(place, timeout=0.25), self.make(place)
        data = source(3 * PIECE + 7)
        info = store.create(self.new(length=len(data)))
        self.proxy().gate.clear()
        with self.proxy().failing(_hold_ledgers), pytest.raises(StoreUnavailable):
            self.append(impatient, info, source(50, 9))
        info = self.append(store, info, data[: PIECE + 3])
        self.proxy().gate.set()
        assert self.proxy().late.acquire(timeout=10)
        assert store.get(info.id) == info
        info = self.append(store, info, data[info.offset :])
        store.finish(info)
        assert content(store, info) == data

    def test_of_two_equal_updates_one_wins(self, store: LedgerStore) -> None:
        info = store.create(self.new())
        wanted = replace(info, state=State.FINISHING)
        store.update(wanted)
        with pytest.raises(RecordChanged):
            store.update(wanted)

    def test_pieces_lost_behind_our_back_are_gone_and_never_a_shorter_upload(
        self, store: LedgerStore, place: str
    ) -> None:
        info = self.append(store, store.create(self.new(expires=NOW)), source(3 * PIECE))
        self.lose_pieces(place, info)
        with pytest.raises(UploadGone):
            store.get(info.id)
        with pytest.raises(StoreError):
            store.finish(store.declare_length(info, info.offset))
        (due,) = store.expired(NOW)
        store.terminate(due)
        assert self.stored(place) == []

    def test_a_404_in_a_proxy_s_words_is_trouble_and_not_an_answer(self, store: LedgerStore) -> None:
        info = self.append(store, store.create(self.new()), source(2 * PIECE))
        with self._answered(lambda call, forward: Answer(404, [("Content-Type", "text/html")], b"<h1>Not Found</h1>")):
            with pytest.raises(StoreUnavailable):
                store.get(info.id)
            with pytest.raises(StoreUnavailable):
                store.open(info, fence=None)
        assert store.get(info.id) == info

    def test_the_finished_object_replaced_by_somebody_else_is_not_served(self, store: LedgerStore, place: str) -> None:
        info = self.finished(store, source(2 * PIECE))
        self.overwrite(place, info.storage["key"], source(2 * PIECE, 5))
        assert store.get(info.id) == info
        with pytest.raises(UploadGone):
            content(store, info)

    def test_something_left_at_the_key_is_replaced_whole_by_the_upload(self, store: LedgerStore, place: str) -> None:
        self.overwrite(place, "a/data", source(9 * PIECE, 5))
        info = store.create(self.new(length=2 * PIECE))
        assert store.get(info.id).offset == 0
        info = self.append(store, info, source(2 * PIECE))
        store.finish(info)
        assert content(store, info) == source(2 * PIECE)

    # What operators ask for

    def test_key_preset_by_a_hook_is_where_the_upload_ends(self, store: LedgerStore, place: str) -> None:
        info = self.finished(store, source(2 * PIECE), storage={"key": "people/名前 1.png"})
        assert "people/名前 1.png" in self.stored(place)
        assert content(store, info) == source(2 * PIECE)
        store.terminate(info)
        assert self.stored(place) == []

    def test_terminate_leaves_what_another_put_at_the_key(self, store: LedgerStore, place: str) -> None:
        info = self.finished(store, source(2 * PIECE), storage={"key": "shared"})
        self.overwrite(place, "shared", b"another's")
        store.terminate(info)
        assert self.stored(place) == ["shared"]

    def test_quirk_35_content_type_is_the_one_announced_or_preset(self, store: LedgerStore, place: str) -> None:
        announced = self.finished(store, source(2 * PIECE), "a", metadata={"filetype": "image/png"})
        preset = self.finished(store, b"x", "b", metadata={"filetype": "a/b"}, storage={"content_type": "text/css"})
        silent = self.finished(store, source(2 * PIECE), "c")
        found = [self.content_type(place, info.storage["key"]) for info in (announced, preset, silent)]
        assert found == ["image/png", "text/css", "application/octet-stream"]

    def test_quirk_35_an_unfinished_upload_is_terminated_without_a_trace(self, store: LedgerStore, place: str) -> None:
        info = self.append(store, store.create(self.new()), source(3 * PIECE + 5))
        store.open(info, fence=None).write([source(2 * PIECE)])
        store.terminate(info)
        store.terminate(info)
        assert self.stored(place) == []
        with pytest.raises(UploadNotFound):
            store.open(info, fence=None)

    def test_row_11_nothing_empty_is_stored_as_a_piece(self, store: LedgerStore) -> None:
        info = store.create(self.new())
        sizes: list[int] = []
        self.proxy().before = lambda call: sizes.append(len(call.body)) if self.is_piece(call) else None
        try:
            for data in (b"", source(PIECE), b"", source(1), b""):
                info = self.append(store, info, data)
            store.finish(store.declare_length(info, PIECE + 1))
        finally:
            self.proxy().before = lambda call: None
        assert len(sizes) == 2

    def test_one_byte_appends_take_few_pieces(self, store: LedgerStore) -> None:
        info = store.create(self.new())
        self.proxy().calls.clear()
        pieces: list[str] = []
        self.proxy().before = lambda call: pieces.append(call.path) if self.is_piece(call) else None
        try:
            for n in range(250):
                info = self.append(store, info, source(250)[n : n + 1])
        finally:
            self.proxy().before = lambda call: None
        assert len(pieces) == 2
        info = store.declare_length(info, 250)
        store.finish(info)
        assert content(store, info) == source(250)

    def test_sliding_expiry_follows_the_last_append(self, store: LedgerStore) -> None:
        created = datetime.now(UTC) - timedelta(minutes=50)
        soon = created + timedelta(hours=1)
        limits = Limits(max_age=3600, sliding=True)
        info = store.create(self.new(length=10, created=created, expires=soon, limits=limits))
        info = self.append(store, info, b"12345")
        expires = store.get(info.id).expires
        assert expires is not None
        assert timedelta(minutes=59) < expires - datetime.now(UTC) <= timedelta(hours=1)
        assert list(store.expired(soon + timedelta(minutes=30))) == []
        assert [due.id for due in store.expired(expires)] == [info.id]

    def test_memory_is_bounded_by_the_pieces_in_flight(self, place: str) -> None:
        piece = 256 * KiB
        store = self.make(place, piece=piece)
        info = store.create(self.new())
        chunk = source(64 * KiB)
        self.append(store, info, b"warm up")
        info = store.get(info.id)
        tracemalloc.start()
        try:
            writer = store.open(info, fence=None)
            for _ in range(256):
                writer.write([bytes(chunk)])
            writer.close()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Two in flight, one that fills, one being cut; the proxy of this process and the SDK hold a copy of each.
        assert peak < 4 * 4 * piece

    def test_stalled_uploads_hold_no_slot_of_the_pool(self, store: LedgerStore) -> None:
        stalled = [store.open(store.create(self.new(f"s{n}")), fence=None) for n in range(28)]
        for writer in stalled:
            writer.write([source(PIECE - 1)])
        infos = [store.create(self.new(f"r{n}")) for n in range(4)]
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(self.append, store, info, source(20 * PIECE)) for info in infos]
            assert [each.result(timeout=60).offset for each in running] == [20 * PIECE] * 4
        assert [writer.close() for writer in stalled] == [PIECE - 1] * 28

    def _piece_fails(self, data: bytes, number: int) -> Plan:
        """The plan by which that piece of `data` is refused for good."""
        broken = data[number * PIECE :][:PIECE]
        return lambda _, call: Fault.ERROR_503 if broken in call.body else None

    def _answered(self, rules: Callable[[Call, Forward], Answer]) -> _Rules:
        return _Rules(self.proxy(), rules)


class _Rules:
    def __init__(self, proxy: Proxy, rules: Callable[[Call, Forward], Answer]) -> None:
        self._proxy, self._rules, self._kept = proxy, rules, proxy.rules

    def __enter__(self) -> None:
        self._proxy.rules = self._rules

    def __exit__(self, *exc: object) -> None:
        self._proxy.rules = self._kept


def _hold_ledgers(_: int, call: Call) -> Fault | None:
    """The name of what is written is in the path, or in the head of a multipart body."""
    about = call.path.encode() + call.body[:1000]
    return Fault.HELD if call.method != "GET" and b".ledger" in about else None
