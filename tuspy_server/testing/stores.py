"""StoreSuite: what every store must do, as tests that a store's own test class inherits."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from tuspy_server.errors import RecordChanged, TusError, UploadExists, UploadNotFound
from tuspy_server.interfaces import DataStore
from tuspy_server.models import Kind, Limits, State, StoredRequest, StoredResponse, UploadInfo
from tuspy_server.testing.settled import SettledStore
from tuspy_server.testing.store_features import FeatureTests
from tuspy_server.testing.suite import ALL_CAPABILITIES, NOW, SET_BY_THE_STORE, same

FULL_RECORD = UploadInfo(
    id="full-record_1",
    length=10,
    state=State.FINISHING,
    kind=Kind.FINAL,
    metadata={
        "filename": "naïve 名前.txt",
        "undecodable": "a\udcff\udc80b",
        "": "empty key",
        "control": "\x00\r\n\t\x7f",
    },
    server_metadata={"tenant": "ünï", "long": "x" * 5000},
    raw_metadata="filename bmHDr3Zl,undecodable /4A=,flag",
    raw_concat="final;/files/a /files/b",
    parts=("a", "b"),
    finals=("c",),
    protocol="rufh",
    created=NOW,
    expires=NOW + timedelta(days=40000, microseconds=1),
    limits=Limits(max_size=1 << 50, min_size=1, max_append_size=2, min_append_size=3, max_age=0.1, sliding=False),
    principal="u\udce9ser",
    origin=StoredRequest(method="POST", target="/files?x=%ff", headers=(("content-type", "a\xff"), ("x", ""))),
    response=StoredResponse(status=201, headers=(("X-A", "1"), ("X-A", "2")), body=bytes(range(256))),
    undelivered=("post_create", "post_finish"),
)

HOSTILE_IDS = (
    *("..", ".", "../up", "a/b", "a\\b", "..\\up", "/etc/passwd", "a/../b", "%2e%2e", "nul\0byte", "line\n", "\n"),
    *("", " ", ".hidden", "~root", "ünï", "\udcff", "x" * 129, "x" * 5000, "C:", "a:b", "a*", "a?"),
)


class StoreSuite(FeatureTests):
    """Conformance tests for a store. Inherit it, and give a fixture `store`: a fresh, empty one for each test.

        class TestMyStore(StoreSuite):
            @pytest.fixture
            def store(self, tmp_path: Path) -> MyStore:
                return MyStore(tmp_path)

    Methods may be `def` or `async def`; awaitables run on the loop of the fixture `portal`. Class attributes:

    - `capabilities`: the protocols of `tuspy_server.interfaces` the store implements, all by default. Tests of
      others are not collected; one that is declared and missing, or there and not declared, fails.
    - `keeps_every_byte`: False for a store whose `close` may tell less than was written.
    - `event_loop`: "asyncio" or "trio".

    A store without Reader overrides `content`.
    """

    def test_capabilities_are_the_declared_ones(self, store: DataStore) -> None:
        found = {protocol for protocol in ALL_CAPABILITIES if isinstance(store, protocol)}
        assert found == self.capabilities

    def test_new_upload_is_empty_and_has_a_revision(self, settled: SettledStore) -> None:
        wanted = self.new(10)
        made = settled.create(wanted)
        assert same(made, wanted)
        assert made.offset == 0
        assert made.revision
        assert settled.get(wanted.id) == made

    def test_create_is_exclusive_and_leaves_the_first_alone(self, settled: SettledStore) -> None:
        first = self.append(settled, settled.create(self.new(4)), b"ab")
        with pytest.raises(UploadExists):
            settled.create(self.new(999, id=first.id, principal="thief"))
        kept = settled.get(first.id)
        assert kept == first
        full = self.fill(settled, kept, b"abcd")
        settled.finish(full)
        assert self.content(settled, full) == b"abcd"

    def test_unknown_upload_is_not_found(self, settled: SettledStore) -> None:
        unknown = self.new()
        with pytest.raises(UploadNotFound):
            settled.get(unknown.id)
        with pytest.raises(UploadNotFound):
            settled.update(unknown)
        with pytest.raises(UploadNotFound):
            settled.open(unknown)

    @pytest.mark.parametrize("upload_id", HOSTILE_IDS, ids=ascii)
    def test_hostile_id_is_not_found(self, settled: SettledStore, upload_id: str) -> None:
        settled.create(self.new(id="bystander"))
        with pytest.raises(UploadNotFound):
            settled.get(upload_id)
        with pytest.raises(TusError):
            settled.open(self.new(id=upload_id)).write(b"x")
        assert settled.get("bystander").offset == 0

    def test_full_record_is_one_that_differs_from_the_defaults(self) -> None:
        plain = UploadInfo(id="x", length=None)
        unset = {f.name for f in fields(UploadInfo) if getattr(FULL_RECORD, f.name) == getattr(plain, f.name)}
        assert unset == SET_BY_THE_STORE

    def test_every_field_survives_creation(self, settled: SettledStore) -> None:
        settled.create(FULL_RECORD)
        assert same(settled.get(FULL_RECORD.id), FULL_RECORD)

    def test_every_field_survives_an_update(self, settled: SettledStore) -> None:
        made = settled.create(self.new(id=FULL_RECORD.id))
        changed = settled.update(replace(FULL_RECORD, storage=made.storage, revision=made.revision))
        assert same(changed, FULL_RECORD)
        assert settled.get(made.id) == changed

    def test_every_state_but_gone_survives_an_update(self, settled: SettledStore) -> None:
        info = settled.create(self.new(0))
        for state in (State.FINISHING, State.COMPLETE, State.FAILED, State.OPEN):
            info = settled.update(replace(info, state=state))
            assert settled.get(info.id).state is state

    def test_update_changes_the_revision_and_keeps_the_bytes(self, settled: SettledStore) -> None:
        info = self.append(settled, settled.create(self.new(6)), b"abc")
        changed = settled.update(replace(info, server_metadata={"k": "v"}))
        assert changed.revision != info.revision
        assert changed.offset == info.offset
        full = self.fill(settled, settled.get(info.id), b"abcdef")
        settled.finish(full)
        assert self.content(settled, full) == b"abcdef"

    def test_same_update_again_changes_the_revision_again(self, settled: SettledStore) -> None:
        first = settled.create(self.new())
        second = settled.update(first)
        third = settled.update(second)
        assert len({first.revision, second.revision, third.revision}) == 3

    def test_update_with_a_stale_revision_changes_nothing(self, settled: SettledStore) -> None:
        stale = settled.create(self.new())
        fresh = settled.update(replace(stale, principal="first"))
        with pytest.raises(RecordChanged):
            settled.update(replace(stale, principal="second"))
        assert settled.get(stale.id) == fresh

    def test_hundreds_of_updates_keep_the_last(self, settled: SettledStore) -> None:
        info = settled.create(self.new())
        for turn in range(300):
            info = settled.update(replace(info, server_metadata={"turn": str(turn), "filler": "x" * 400}))
        assert settled.get(info.id) == info

    def test_offset_is_what_close_told(self, settled: SettledStore) -> None:
        info = settled.create(self.new(6))
        writer = settled.open(info)
        writer.write(b"abc")
        offset = writer.close()
        assert offset <= 3
        assert offset == 3 or not self.keeps_every_byte
        assert settled.get(info.id) == replace(info, offset=offset)

    def test_close_twice_tells_the_same(self, settled: SettledStore) -> None:
        writer = settled.open(settled.create(self.new(6)))
        writer.write(b"abcdef")
        assert writer.close() == writer.close() == 6

    def test_close_without_a_write_changes_nothing(self, settled: SettledStore) -> None:
        info = settled.create(self.new(6))
        assert settled.open(info).close() == 0
        assert settled.get(info.id) == info

    @pytest.mark.parametrize("sizes", [(1,), (0, 1, 7), (3, 0, 0, 64), (1000, 1)], ids=str)
    def test_pieces_of_odd_sizes_are_put_together(self, settled: SettledStore, sizes: tuple[int, ...]) -> None:
        data = bytes(n * 31 % 251 for n in range(5000))
        info = settled.create(self.new(len(data)))
        writer = settled.open(info)
        writer.write(*self.pieces(data, sizes))
        full = self.fill(settled, replace(info, offset=writer.close()), data)
        settled.finish(full)
        assert self.content(settled, full) == data

    def test_many_batches_and_writers_are_put_together(self, settled: SettledStore) -> None:
        data = bytes(n * 7 % 253 for n in range(3000))
        info = settled.create(self.new(len(data)))
        for start in range(0, len(data), 1000):
            writer = settled.open(info)
            for piece in self.pieces(data[info.offset : start + 1000], (400,)):
                writer.write(piece)
            info = replace(info, offset=writer.close())
        full = self.fill(settled, info, data)
        settled.finish(full)
        assert self.content(settled, full) == data

    @pytest.mark.parametrize("distance", [-1, 1])
    def test_writer_at_another_offset_is_refused(self, settled: SettledStore, distance: int) -> None:
        info = settled.get(self.append(settled, settled.create(self.new(6)), b"abc").id)
        with pytest.raises(RecordChanged):
            settled.open(replace(info, offset=info.offset + distance)).write(b"x")
        assert settled.get(info.id) == info

    def test_holder_that_wakes_up_late_is_never_acknowledged_wrongly(self, settled: SettledStore) -> None:
        if not getattr(settled.store, "fences", True):
            pytest.skip("this store says that it stops no writer")
        info = settled.create(self.new(4))
        sleeper, sleeper_told = settled.open(info, fence=1), 0
        sleeper.write(b"aa")
        heir_told = 0
        try:
            heir = settled.open(info, fence=2)
            heir.write(b"bb")
            heir_told = heir.close()
        except TusError:
            heir_told = 0
        try:
            sleeper.write(b"aa")
            sleeper_told = sleeper.close()
        except TusError:
            sleeper_told = 0
        kept = settled.get(info.id)
        assert kept.offset >= max(heir_told, sleeper_told)
        full = self.fill(settled, kept, (b"bb" if heir_told else b"aa") * 2)
        settled.finish(full)
        content = self.content(settled, full)
        assert content[:heir_told] == b"bb"[:heir_told]
        assert content[:sleeper_told] == b"aaaa"[:sleeper_told]

    def test_finish_again_is_harmless(self, settled: SettledStore) -> None:
        info = self.stored(settled, b"abcdef")
        settled.finish(info)
        settled.finish(settled.get(info.id))
        assert self.content(settled, info) == b"abcdef"

    def test_empty_upload_finishes(self, settled: SettledStore) -> None:
        info = settled.create(self.new(0))
        settled.finish(info)
        assert settled.get(info.id).offset == 0
        assert self.content(settled, info) == b""

    def test_offset_stays_the_length_once_finished(self, settled: SettledStore) -> None:
        info = self.stored(settled, b"abcdef")
        assert settled.get(info.id).offset == 6
        settled.update(replace(settled.get(info.id), state=State.COMPLETE))
        assert settled.get(info.id).offset == 6
