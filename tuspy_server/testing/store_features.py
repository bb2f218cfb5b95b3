"""The parts of StoreSuite that are about optional capabilities."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tuspy_server.errors import RecordChanged, StoreError, TusError, UploadExists, UploadGone, UploadNotFound
from tuspy_server.interfaces import Concater, Expirer, LengthDeferrer, Reader, Stager, Terminater
from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.testing.settled import SettledStore
from tuspy_server.testing.suite import NOW, SuiteBase, needs, same

HOUR = timedelta(hours=1)


def tombstone(info: UploadInfo) -> UploadInfo:
    """What the engine passes to `terminate` so that a tombstone stays for an hour."""
    return replace(info, state=State.GONE, expires=NOW + HOUR)


class StagingTests(SuiteBase):
    """Bytes that count all at once or not at all."""

    def assert_at(self, settled: SettledStore, info: UploadInfo, offset: int) -> None:
        found = settled.get(info.id)
        assert found.offset == offset
        assert same(found, info)

    @needs(Stager)
    @pytest.mark.parametrize("before", [b"", b"abc"])
    def test_staged_bytes_count_from_close_on(self, settled: SettledStore, before: bytes) -> None:
        data = b"abcdef"
        info = settled.get(self.fill(settled, settled.create(self.new(6)), before).id)
        writer = settled.stage(info)
        writer.write(data[info.offset :][:1], b"", data[info.offset :][1:])
        self.assert_at(settled, info, info.offset)
        assert writer.close() == writer.close() == 6
        self.assert_at(settled, info, 6)
        settled.finish(settled.get(info.id))
        assert self.content(settled, info) == data

    @needs(Stager)
    @pytest.mark.parametrize("before", [b"", b"abc"])
    def test_discarded_bytes_never_count(self, settled: SettledStore, before: bytes) -> None:
        info = settled.get(self.fill(settled, settled.create(self.new(6)), before).id)
        writer = settled.stage(info)
        writer.write(b"wro", b"ng")
        writer.discard()
        writer.discard()
        self.assert_at(settled, info, info.offset)
        full = self.fill(settled, info, b"abcdef")
        settled.finish(full)
        assert self.content(settled, full) == b"abcdef"

    @needs(Stager)
    def test_discard_after_close_changes_nothing(self, settled: SettledStore) -> None:
        info = settled.create(self.new(3))
        writer = settled.stage(info)
        writer.write(b"abc")
        assert writer.close() == 3
        writer.discard()
        settled.finish(settled.get(info.id))
        assert self.content(settled, info) == b"abc"

    @needs(Stager)
    def test_staging_nothing_changes_nothing(self, settled: SettledStore) -> None:
        info = settled.create(self.new(3))
        assert settled.stage(info).close() == 0
        settled.stage(info).discard()
        self.assert_at(settled, info, info.offset)

    @needs(Stager)
    def test_record_can_be_updated_after_staging(self, settled: SettledStore) -> None:
        info = settled.create(self.new(3))
        writer = settled.stage(info)
        writer.write(b"abc")
        writer.close()
        settled.update(replace(info, offset=3, state=State.FINISHING))
        assert settled.get(info.id).state is State.FINISHING

    @needs(Stager)
    def test_staging_at_another_offset_is_refused(self, settled: SettledStore) -> None:
        info = settled.create(self.new(3))
        with pytest.raises(RecordChanged):
            settled.stage(replace(info, offset=1)).write(b"x")
        self.assert_at(settled, info, info.offset)

    @needs(Stager)
    def test_thousands_of_staged_pieces_are_put_together(self, settled: SettledStore) -> None:
        data = bytes(n * 7 % 253 for n in range(3000))
        info = settled.create(self.new(len(data)))
        writer = settled.stage(info)
        writer.write(*self.pieces(data, (1,)))
        assert writer.close() == len(data)
        settled.finish(settled.get(info.id))
        assert self.content(settled, info) == data


class TerminationTests(SuiteBase):
    """Nothing rises from the dead."""

    @needs(Terminater)
    def test_terminated_upload_leaves_no_trace(self, settled: SettledStore) -> None:
        info = self.append(settled, settled.create(self.new(6)), b"abc")
        settled.terminate(info)
        with pytest.raises(UploadNotFound) as caught:
            settled.get(info.id)
        assert not isinstance(caught.value, UploadGone)
        assert settled.create(self.new(6, id=info.id)).offset == 0

    @needs(Terminater)
    def test_tombstone_says_gone_and_holds_the_id(self, settled: SettledStore) -> None:
        info = self.append(settled, settled.create(self.new(6)), b"abc")
        settled.terminate(tombstone(info))
        with pytest.raises(UploadGone):
            settled.get(info.id)
        with pytest.raises(UploadExists):
            settled.create(self.new(id=info.id))
        with pytest.raises((UploadNotFound, RecordChanged)):
            settled.update(info)
        with pytest.raises((UploadNotFound, RecordChanged)):
            settled.open(info).write(b"x")

    @needs(Terminater)
    def test_tombstone_can_be_removed(self, settled: SettledStore) -> None:
        info = settled.create(self.new(6))
        settled.terminate(tombstone(info))
        settled.terminate(replace(tombstone(info), expires=None))
        with pytest.raises(UploadNotFound) as caught:
            settled.get(info.id)
        assert not isinstance(caught.value, UploadGone)

    @needs(Terminater)
    def test_terminate_again_is_harmless(self, settled: SettledStore) -> None:
        info = self.stored(settled, b"abc")
        settled.terminate(tombstone(info))
        settled.terminate(tombstone(info))
        settled.terminate(info)
        settled.terminate(info)
        with pytest.raises(UploadNotFound):
            settled.get(info.id)

    @needs(Terminater)
    def test_running_writer_cannot_bring_an_upload_back(self, settled: SettledStore) -> None:
        info = settled.create(self.new(6))
        writer = settled.open(info)
        writer.write(b"abc")
        settled.terminate(tombstone(info))
        with pytest.raises(TusError):
            self._write_and_close(writer.write, writer.close)
        with pytest.raises(UploadGone):
            settled.get(info.id)
        with pytest.raises(TusError):
            settled.open(replace(info, offset=3)).write(b"x")

    def _write_and_close(self, write: object, close: object) -> None:
        assert callable(write)
        assert callable(close)
        write(b"def")
        close()

    @needs(Terminater)
    def test_terminate_spares_ids_that_look_alike(self, settled: SettledStore) -> None:
        alike = [self.stored(settled, b"abc", id=name) for name in ("a-1", "ab", "a.b", "a~", "b")]
        settled.terminate(self.stored(settled, b"xyz", id="a"))
        for info in alike:
            assert settled.get(info.id).offset == 3
            assert self.content(settled, info) == b"abc"


class ConcatenationTests(SuiteBase):
    """Finals out of parts."""

    def parts(self, settled: SettledStore, *contents: bytes) -> list[UploadInfo]:
        made = [self.stored(settled, data, kind=Kind.PARTIAL) for data in contents]
        return [settled.get(part.id) for part in made]

    def final(self, parts: list[UploadInfo]) -> UploadInfo:
        return self.new(sum(p.length or 0 for p in parts), kind=Kind.FINAL, parts=tuple(p.id for p in parts))

    @needs(Concater)
    @pytest.mark.parametrize("contents", [(b"abc",), (b"abc", b"", b"defg"), (b"", b"")], ids=len)
    def test_final_is_its_parts_in_order(self, settled: SettledStore, contents: tuple[bytes, ...]) -> None:
        parts = self.parts(settled, *contents)
        info = settled.create(self.final(parts))
        done = settled.concat(info, parts)
        assert done.offset == done.length == settled.get(info.id).offset
        settled.finish(done)
        assert self.content(settled, done) == b"".join(contents)
        assert [settled.get(p.id) for p in parts] == parts
        assert [self.content(settled, p) for p in parts] == list(contents)

    @needs(Concater)
    def test_final_of_many_parts(self, settled: SettledStore) -> None:
        parts = self.parts(settled, *(bytes([n]) * n for n in range(40)))
        done = settled.concat(settled.create(self.final(parts)), parts)
        settled.finish(done)
        assert self.content(settled, done) == b"".join(bytes([n]) * n for n in range(40))

    @needs(Concater)
    def test_concat_again_starts_over(self, settled: SettledStore) -> None:
        parts = self.parts(settled, b"abc", b"def")
        info = settled.create(self.final(parts))
        settled.concat(info, parts)
        done = settled.concat(settled.get(info.id), parts)
        assert settled.get(info.id).offset == done.offset == 6
        settled.finish(done)
        assert self.content(settled, done) == b"abcdef"

    @needs(Concater, Terminater)
    def test_vanished_part_is_an_error_and_no_final(self, settled: SettledStore) -> None:
        parts = self.parts(settled, b"abc", b"def")
        info = settled.create(self.final(parts))
        settled.terminate(parts[1])
        with pytest.raises(StoreError):
            settled.concat(info, parts)
        assert not settled.get(info.id).is_full

    @needs(Concater)
    def test_short_part_is_an_error_and_no_final(self, settled: SettledStore) -> None:
        parts = self.parts(settled, b"abc")
        short = self.append(settled, settled.create(self.new(4, kind=Kind.PARTIAL)), b"de")
        parts.append(short)
        info = settled.create(self.final(parts))
        with pytest.raises(StoreError):
            settled.concat(info, parts)
        assert not settled.get(info.id).is_full


class DeferredLengthTests(SuiteBase):
    """Lengths that come later."""

    @needs(LengthDeferrer)
    def test_length_is_declared_later(self, settled: SettledStore) -> None:
        info = settled.create(self.new(None))
        assert settled.get(info.id).length is None
        info = self.append(settled, info, b"abc")
        declared = settled.declare_length(info, 6)
        assert declared.length == 6
        assert declared.revision != info.revision
        assert settled.get(info.id) == declared
        full = self.fill(settled, declared, b"abcdef")
        settled.finish(full)
        assert self.content(settled, full) == b"abcdef"

    @needs(LengthDeferrer)
    def test_length_is_not_declared_on_a_stale_record(self, settled: SettledStore) -> None:
        info = settled.create(self.new(None))
        settled.declare_length(info, 6)
        with pytest.raises(RecordChanged):
            settled.declare_length(info, 7)
        assert settled.get(info.id).length == 6

    @needs(LengthDeferrer)
    def test_length_zero_is_not_unknown(self, settled: SettledStore) -> None:
        info = settled.declare_length(settled.create(self.new(None)), 0)
        assert settled.get(info.id).length == 0
        settled.finish(info)
        assert self.content(settled, info) == b""


class ExpirationTests(SuiteBase):
    """Which uploads are due."""

    @needs(Expirer)
    def test_only_what_is_due_is_listed(self, settled: SettledStore) -> None:
        due = settled.create(self.new(id="a", expires=NOW - HOUR))
        exactly = settled.create(self.new(id="a-1", expires=NOW))
        settled.create(self.new(id="ab", expires=NOW + HOUR))
        settled.create(self.new(id="b"))
        listed = {info.id: info for info in settled.expired(NOW)}
        assert listed == {"a": due, "a-1": exactly}

    @needs(Expirer)
    def test_listed_upload_has_its_offset(self, settled: SettledStore) -> None:
        info = self.append(settled, settled.create(self.new(6, expires=NOW)), b"abc")
        assert settled.expired(NOW) == [info]

    @needs(Expirer, Terminater)
    def test_tombstone_is_listed_once_its_time_has_come(self, settled: SettledStore) -> None:
        info = settled.create(self.new(expires=NOW))
        settled.terminate(tombstone(info))
        assert settled.expired(NOW) == []
        (listed,) = settled.expired(NOW + HOUR)
        assert (listed.id, listed.state) == (info.id, State.GONE)
        settled.terminate(replace(listed, expires=None))
        assert settled.expired(NOW + HOUR) == []

    @needs(Expirer, Terminater)
    def test_removing_what_is_due_spares_the_rest(self, settled: SettledStore) -> None:
        settled.create(self.new(id="a", expires=NOW))
        kept = [settled.create(self.new(id=name)) for name in ("a-1", "ab", "a.b")]
        for info in settled.expired(NOW):
            settled.terminate(info)
        assert [settled.get(info.id) for info in kept] == kept
        with pytest.raises(UploadNotFound):
            settled.get("a")


class ReadingTests(SuiteBase):
    """Downloads."""

    @needs(Reader)
    @pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (0, 9), (3, 7), (8, 9), (9, 9)])
    def test_range_is_read(self, settled: SettledStore, start: int, stop: int) -> None:
        info = self.stored(settled, b"012345678")
        assert settled.read(info, start, stop) == b"012345678"[start:stop]

    @needs(Reader)
    def test_large_upload_is_read_back(self, settled: SettledStore) -> None:
        data = bytes(range(256)) * (3 * 4096 + 1)
        info = self.stored(settled, data)
        assert settled.read(info, 0, len(data)) == data
        assert settled.read(info, 1_000_001, 2_100_003) == data[1_000_001:2_100_003]

    @needs(Reader, Terminater)
    def test_removed_upload_cannot_be_read(self, settled: SettledStore) -> None:
        info = self.stored(settled, b"abc")
        settled.terminate(info)
        with pytest.raises(UploadGone):
            settled.read(info, 0, 3)


class FeatureTests(
    StagingTests, TerminationTests, ConcatenationTests, DeferredLengthTests, ExpirationTests, ReadingTests
):
    """All tests of optional capabilities."""
