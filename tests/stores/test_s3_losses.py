"""Ways in which other servers lost, corrupted or stranded uploads on S3. None of them is ours.

OBJ1 to OBJ7 are faults of tus-node-server's S3 store, most of them of tusd's as well.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped, unused-ignore]

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.servers.s3_faults import Fault, Script
from tests.stores.s3_client import Upload
from tuspy_server.backends.s3 import Bucket
from tuspy_server.errors import (
    RecordChanged,
    StoreError,
    StoreFailed,
    StoreUnavailable,
    UploadGone,
    UploadNotFound,
)
from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits
from tuspy_server.stores.s3_upload import S3Writer

MIN = servers.SMALL_PART
PART = 2 * MIN
DATA = bytes(n * 31 % 251 for n in range(10 * PART))
LIMITS = PartLimits(part_size=PART, min_part_size=MIN)

_numbers = itertools.count()


class Setup:
    """A store on moto under a prefix of its own, with a client whose calls can be made to fail."""

    def __init__(self, **options: Any) -> None:
        self.server = servers.moto()
        self.prefix = f"losses {next(_numbers)}/"
        self.client = self.server.client()
        self.script = Script(self.client)
        self.options = {"limits": LIMITS, "concurrency": 3, "conditional_writes": True, **options}
        self.store = self.new_store(self.client)

    def new_store(self, client: Any = None) -> S3Store:
        """The same place as seen by another process."""
        bucket = Bucket(servers.BUCKET, client=client or self.server.client())
        return S3Store(bucket, prefix=self.prefix, **self.options)

    def upload(self, size: int, **options: Any) -> Upload:
        return Upload(self.store, DATA[:size], **options)

    def keys(self) -> list[str]:
        answer = self.client.list_objects_v2(Bucket=servers.BUCKET, Prefix=self.prefix)
        return [entry["Key"].removeprefix(self.prefix) for entry in answer.get("Contents", ())]

    def multiparts(self) -> list[str]:
        answer = self.client.list_multipart_uploads(Bucket=servers.BUCKET)
        return [entry["UploadId"] for entry in answer.get("Uploads", ()) if entry["Key"].startswith(self.prefix)]

    def on_answer(self, operation: str, change: Callable[[dict[str, Any]], None]) -> None:
        self.client.meta.events.register(f"after-call.s3.{operation}", lambda parsed, **_: change(parsed))


@pytest.fixture
def s3() -> Setup:
    return Setup()


def write_and_close(store: S3Store, info: UploadInfo, data: bytes, *, fence: int | None = None) -> int:
    writer = store.open(info, fence=fence)
    try:
        writer.write([data])
    except StoreError:
        writer.close()
        raise
    return writer.close()


def landed(writer: object) -> None:
    """Wait for the parts that a writer has under way."""
    assert isinstance(writer, S3Writer)
    writer._flight.wait()


def completed(upload: Upload) -> bytes:
    upload.append_to(len(upload.data))
    upload.finish()
    return upload.content()


def test_obj1_part_missing_between_stored_ones_does_not_count(s3: Setup) -> None:
    upload = s3.upload(5 * PART)
    s3.script.fail("UploadPart", url="partNumber=2")
    with pytest.raises(StoreUnavailable):
        write_and_close(s3.store, upload.head(), DATA[: 3 * PART])
    upload._sent = 3 * PART
    assert upload.head().offset == PART
    for stop in range(PART + 7, 5 * PART, 7):
        upload.append_to(stop)
    assert completed(upload) == upload.data


def test_obj1_nothing_is_sent_after_a_part_failed(s3: Setup) -> None:
    upload = s3.upload(10 * PART)
    s3.script.fail("UploadPart", url="partNumber=1")
    writer = s3.store.open(upload.head(), fence=None)
    pieces = [DATA[start : start + PART] for start in range(0, len(DATA), PART)]
    with pytest.raises(StoreUnavailable):
        writer.write(pieces)
    assert writer.close() == 0
    assert s3.script.calls.count("UploadPart") <= 5


def test_obj2_acknowledged_tail_outlives_a_failed_append(s3: Setup) -> None:
    upload = s3.upload(4 * PART)
    upload.append_to(MIN - 1)
    s3.script.fail("UploadPart", times=3)
    with pytest.raises(StoreUnavailable):
        write_and_close(s3.store, upload.head(), DATA[MIN - 1 : 3 * PART])
    assert upload.head().offset == MIN - 1
    s3.script.fail("UploadPart", Fault.TIMEOUT, times=3)
    upload._sent = 3 * PART
    upload.append_to(3 * PART)
    assert completed(upload) == upload.data


def test_obj2_tail_that_cannot_be_fetched_is_not_dropped(s3: Setup) -> None:
    upload = s3.upload(PART)
    upload.append_to(10)
    info = upload.head()
    s3.script.fail("GetObject", url="tail-")
    with pytest.raises(StoreUnavailable):
        write_and_close(s3.store, info, DATA[10:20])
    assert upload.head().offset == 10


def test_obj3_aborted_upload_is_gone_and_not_complete(s3: Setup) -> None:
    upload = s3.upload(3 * PART)
    upload.append_to(2 * PART)
    info = upload.head()
    s3.client.abort_multipart_upload(Bucket=servers.BUCKET, Key=info.storage["key"], UploadId=info.storage["multipart"])
    for action in (lambda: s3.store.get(info.id), lambda: s3.store.finish(replace(info, offset=3 * PART))):
        with pytest.raises(UploadGone):
            action()


@pytest.mark.parametrize("operation", ["GetObject", "ListParts", "ListObjectsV2"])
def test_obj3_bare_404_of_a_proxy_is_trouble_and_not_an_answer(s3: Setup, operation: str) -> None:
    upload = s3.upload(3 * PART)
    upload.append_to(PART)

    client = s3.server.client()
    store = s3.new_store(client)
    client.meta.events.register(f"before-send.s3.{operation}", lambda request, **_: plain_404(request.url))
    with pytest.raises(StoreUnavailable):
        store.get(upload.id)


def test_obj4_declared_length_is_seen_by_every_process(s3: Setup) -> None:
    upload = s3.upload(3 * PART, deferred=True)
    upload.append_to(2 * PART + 3)
    other = s3.new_store()
    other.declare_length(other.get(upload.id), 3 * PART)
    assert s3.store.get(upload.id).length == 3 * PART
    assert completed(upload) == upload.data


@pytest.mark.parametrize("stage", ["created", "partial", "full", "finished", "complete"])
def test_obj5_terminated_upload_leaves_nothing_in_the_bucket(s3: Setup, stage: str) -> None:
    upload = s3.upload(3 * PART)
    if stage != "created":
        for stop in (7, PART + 7, 2 * PART + MIN):
            upload.append_to(stop)
    if stage in ("full", "finished", "complete"):
        upload.append_to(3 * PART)
    if stage == "finished":
        s3.store.finish(upload.head())
    if stage == "complete":
        upload.finish()
    s3.store.terminate(s3.store.get(upload.id))
    assert s3.keys() == []
    assert s3.multiparts() == []


@pytest.mark.parametrize("deferred", [False, True])
def test_obj6_empty_upload_becomes_an_empty_object(s3: Setup, deferred: bool) -> None:
    upload = s3.upload(0, deferred=deferred)
    upload.declare()
    s3.store.finish(upload.head())
    s3.store.finish(upload.head())
    answer = s3.client.head_object(Bucket=servers.BUCKET, Key=upload.head().storage["key"])
    assert answer["ContentLength"] == 0
    assert s3.multiparts() == []


def test_obj7_idle_clients_hold_no_slot() -> None:
    s3 = Setup(concurrency=1, memory_per_upload=PART, memory=PART)

    def serve() -> None:
        idle = [s3.store.open(s3.upload(5 * PART).head(), fence=None) for _ in range(5)]
        for writer in idle:
            writer.write([DATA[: PART - 1]])
        assert completed(s3.upload(8 * PART)) == DATA[: 8 * PART]
        assert [writer.close() for writer in idle] == [PART - 1] * 5
        served.set()

    served = threading.Event()
    threading.Thread(target=serve, daemon=True).start()
    assert served.wait(60)


def test_rus3_record_shows_the_clients_metadata_only(s3: Setup) -> None:
    info = s3.store.create(UploadInfo(id="rus3", length=3 * PART, metadata={"filename": "a"}))
    write_and_close(s3.store, info, DATA[: PART + 3])
    assert dict(s3.store.get(info.id).metadata) == {"filename": "a"}


@pytest.mark.parametrize("tail", [1, MIN - 1, MIN, MIN + 1, PART])
@pytest.mark.parametrize(("before", "declare_first"), [(0, False), (PART, True), (3 * PART + 5, False)])
def test_row1_tail_of_an_upload_of_unknown_length_is_part_of_the_object(
    s3: Setup, tail: int, before: int, declare_first: bool
) -> None:
    upload = s3.upload(before + tail, deferred=True)
    upload.append_to(before)
    if declare_first:
        upload.declare()
    upload.append_to(before + tail)
    upload.declare()
    assert completed(upload) == upload.data


def test_row2_listing_that_lags_behind_completes_nothing(s3: Setup) -> None:
    upload = s3.upload(4 * PART)
    upload.append_to(4 * PART)
    info = upload.head()
    lagging = [True]

    def lag(parsed: dict[str, Any]) -> None:
        if lagging[0]:
            parsed["Parts"] = parsed["Parts"][:-1]

    s3.on_answer("ListParts", lag)
    with pytest.raises(StoreError):
        s3.store.finish(info)
    with pytest.raises(StoreUnavailable):
        s3.store.get(upload.id)
    lagging[0] = False
    assert completed(upload) == upload.data


@pytest.mark.parametrize("fault", [Fault.INTERNAL_ERROR, Fault.ERROR_IN_200, Fault.SLOW_DOWN, Fault.UNREACHABLE])
def test_row4_failed_completion_is_made_good_later(s3: Setup, fault: Fault) -> None:
    upload = s3.upload(2 * PART + 1)
    upload.append_to(len(upload.data))
    s3.script.fail("CompleteMultipartUpload", fault)
    with pytest.raises(StoreUnavailable):
        s3.store.finish(upload.head())
    with pytest.raises(s3.client.exceptions.ClientError):
        s3.client.head_object(Bucket=servers.BUCKET, Key=upload.head().storage["key"])
    assert completed(upload) == upload.data


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.RESET, Fault.INTERNAL_ERROR_AFTER])
def test_row4_completion_whose_answer_was_lost_is_a_completion(s3: Setup, fault: Fault) -> None:
    upload = s3.upload(2 * PART + 1)
    upload.append_to(len(upload.data))
    s3.script.fail("CompleteMultipartUpload", fault)
    s3.store.finish(upload.head())
    assert completed(upload) == upload.data


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("before", [0, MIN - 1, MIN + 3])
def test_row9_writer_that_was_never_closed_adds_nothing_wrong(tmp_path: Path, spooled: bool, before: int) -> None:
    """Neither the parts it stored nor the bytes of the one that it was filling."""
    s3 = Setup(spool=tmp_path if spooled else None)
    upload = s3.upload(5 * PART)
    upload.append_to(before)
    dropped = s3.store.open(upload.head(), fence=None)
    assert isinstance(dropped, S3Writer)
    dropped.write([DATA[before : 4 * PART + 9]])
    landed(dropped)
    upload._sent = 4 * PART + 9
    upload.append_to(upload.head().offset + 1)
    assert completed(upload) == upload.data
    dropped._drop()


def test_row9_full_part_that_lands_beside_an_acknowledged_tail_does_not_count(s3: Setup) -> None:
    upload = s3.upload(3 * PART)
    s3.script.hold("UploadPart", url="partNumber=1")
    with pytest.raises(StoreUnavailable):
        write_and_close(s3.store, upload.head(), bytes(PART), fence=1)
    heir = s3.store.open(upload.head(), fence=2)
    heir.write([DATA[:10]])
    assert heir.close() == 10
    s3.script.release()
    upload._sent = 10
    assert upload.head().offset == 10
    assert completed(upload) == upload.data


@pytest.mark.parametrize("broken", range(5))
def test_row12_every_byte_below_an_offset_can_be_read_after_a_failed_append(broken: int) -> None:
    s3 = Setup(limits=replace(LIMITS, max_object_size=len(DATA)))  # so that parts do not grow
    upload = s3.upload(5 * PART, deferred=True)
    s3.script.fail("UploadPart", url=f"partNumber={broken + 1}")
    writer = s3.store.open(upload.head(), fence=None)
    with pytest.raises(StoreUnavailable), closing(writer):
        writer.write([upload.data])
    kept = s3.store.get(upload.id)
    assert writer.close() == kept.offset == broken * PART
    kept = s3.store.declare_length(kept, kept.offset)
    s3.store.finish(kept)
    assert b"".join(s3.store.read(kept, 0, kept.offset)) == DATA[: kept.offset]


def test_row13_keys_of_any_characters_are_copied_from() -> None:
    s3 = Setup(key="ü/a b+c&d=e%2F?#'()~/{created:%Y}/{id}.bin")
    parts = [s3.upload(size, kind=Kind.PARTIAL) for size in (PART, 3, 3 * PART)]
    for part in parts:
        completed(part)
    final = Upload(s3.store, b"".join(part.data for part in parts), kind=Kind.FINAL)
    final.concat(parts)
    assert completed(final) == final.data
    assert "UploadPartCopy" in s3.script.calls


def test_quirk7_final_of_small_parts_keeps_its_content_type(s3: Setup) -> None:
    parts = [s3.upload(3, kind=Kind.PARTIAL), s3.upload(4, kind=Kind.PARTIAL)]
    for part in parts:
        completed(part)
    info = s3.store.create(UploadInfo(id="final", length=7, kind=Kind.FINAL, metadata={"filetype": "image/png"}))
    s3.store.finish(s3.store.concat(info, [part.head() for part in parts]))
    answer = s3.client.head_object(Bucket=servers.BUCKET, Key=info.storage["key"])
    assert answer["ContentType"] == "image/png"


def test_tail_that_lands_after_a_newer_one_changes_nothing(s3: Setup) -> None:
    upload = s3.upload(PART, fenced=True)
    upload.append_to(10)
    info = upload.head()
    s3.script.hold("PutObject", url="tail-")
    late = s3.store.open(info, fence=50)
    late.write([b"\0" * 60])
    with pytest.raises(StoreUnavailable):
        late.close()
    newer = s3.store.open(info, fence=51)
    newer.write([DATA[10:20]])
    assert newer.close() == 20
    s3.script.release()
    assert s3.store.get(upload.id).offset == 20
    writer = s3.store.open(s3.store.get(upload.id), fence=52)
    writer.write([DATA[20:PART]])
    assert writer.close() == PART
    s3.store.finish(s3.store.get(upload.id))
    assert b"".join(s3.store.read(info, 0, PART)) == DATA[:PART]


def test_part_that_lands_over_an_acknowledged_one_never_becomes_wrong_bytes(s3: Setup) -> None:
    upload = s3.upload(3 * PART)
    s3.script.hold("UploadPart", url="partNumber=1")
    sleeper = s3.store.open(upload.head(), fence=1)
    sleeper.write([b"\0" * (PART - 1)])
    with pytest.raises(StoreUnavailable):
        sleeper.close()
    heir = s3.store.open(upload.head(), fence=2)
    heir.write([DATA[: MIN + 9]])
    assert heir.close() == MIN + 9
    s3.script.release()
    with pytest.raises(UploadGone):
        s3.store.get(upload.id)


def test_part_of_a_killed_holder_that_lands_late_moves_no_boundary(s3: Setup) -> None:
    upload = s3.upload(5 * PART)
    s3.script.hold("UploadPart", url="partNumber=2")
    with pytest.raises(StoreUnavailable):
        write_and_close(s3.store, upload.head(), DATA[: PART + MIN + 9])
    upload._sent = PART + MIN + 9
    heir = s3.store.open(upload.head(), fence=None)
    heir.write([DATA[PART : 4 * PART]])
    landed(heir)
    s3.script.release()
    upload._sent = 4 * PART
    assert upload.head().offset == PART
    assert completed(upload) == upload.data


def test_holder_of_an_older_lock_cannot_open(s3: Setup) -> None:
    upload = s3.upload(PART)
    s3.store.open(upload.head(), fence=7)
    with pytest.raises(RecordChanged):
        s3.store.open(upload.head(), fence=6)


@pytest.mark.parametrize("page", [1, 2, 3])
def test_pages_of_any_size_are_read_to_their_end(s3: Setup, page: int) -> None:
    for operation, name in (("ListParts", "MaxParts"), ("ListObjectsV2", "MaxKeys")):
        s3.client.meta.events.register(
            f"provide-client-params.s3.{operation}", lambda params, name=name, **_: {**params, name: page}
        )
    upload = s3.upload(6 * PART)
    for stop in (5, MIN, 3 * PART, 3 * PART + 5, 3 * PART + 9):
        upload.append_to(stop)
    assert completed(upload) == upload.data
    kept = s3.keys()
    assert not [key for key in kept if "tail-" in key]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_part_numbers_listed_twice_count_once(s3: Setup, newest_first: bool, closed: bool) -> None:
    """What was stored under the number before is listed too, by an older time, in either order."""

    def doubled(parsed: dict[str, Any]) -> None:
        pairs = []
        for part in parsed.get("Parts", ()):
            older = {**part, "ETag": f'"{"0" * 32}"', "LastModified": part["LastModified"] - timedelta(minutes=1)}
            pairs += [part, older] if newest_first else [older, part]
        parsed["Parts"] = pairs

    s3.on_answer("ListParts", doubled)
    upload = s3.upload(5 * PART)
    writer = s3.store.open(upload.head(), fence=None)
    writer.write([DATA[: 3 * PART]])
    landed(writer)
    if closed:
        writer.close()
    upload._sent = 3 * PART
    assert upload.head().offset == 3 * PART
    assert completed(upload) == upload.data


def test_metadata_names_in_another_case_are_understood(s3: Setup) -> None:
    def capitalised(parsed: dict[str, Any]) -> None:
        parsed["Metadata"] = {name.title(): value for name, value in parsed.get("Metadata", {}).items()}

    s3.on_answer("HeadObject", capitalised)
    upload = s3.upload(PART)
    upload.append_to(PART)
    s3.store.finish(upload.head())
    assert upload.head().offset == PART
    s3.store.terminate(upload.head())
    assert s3.keys() == []


def test_server_that_says_nosuchkey_for_uploads_is_understood(s3: Setup) -> None:
    def as_ceph_says(parsed: dict[str, Any]) -> None:
        if parsed.get("Error", {}).get("Code") == "NoSuchUpload":
            parsed["Error"] = {"Code": "NoSuchKey", "Message": None}

    for operation in ("ListParts", "AbortMultipartUpload", "CompleteMultipartUpload"):
        s3.on_answer(operation, as_ceph_says)
    upload = s3.upload(PART)
    upload.append_to(PART)
    s3.store.finish(upload.head())
    s3.store.finish(upload.head())
    assert upload.head().offset == PART
    s3.store.terminate(upload.head())
    assert s3.keys() == []


def test_foreign_object_under_the_key_is_neither_completion_nor_terminated(s3: Setup) -> None:
    key = s3.prefix + "avatar.png"
    s3.client.put_object(Bucket=servers.BUCKET, Key=key, Body=DATA[:PART])
    info = s3.store.create(UploadInfo(id="avatar", length=PART, storage={"key": key}))
    s3.client.abort_multipart_upload(Bucket=servers.BUCKET, Key=key, UploadId=info.storage["multipart"])
    with pytest.raises(UploadGone):
        s3.store.get(info.id)
    s3.store.terminate(info)
    assert s3.keys() == ["avatar.png"]


def test_answer_without_an_etag_is_not_taken_for_storage(s3: Setup) -> None:
    upload = s3.upload(3 * PART)
    s3.on_answer("UploadPart", lambda parsed: parsed.pop("ETag", None) and None)
    with pytest.raises(StoreUnavailable):
        write_and_close(s3.store, upload.head(), DATA[: 2 * PART])


def test_update_whose_answer_was_lost_is_told_from_a_foreign_one(s3: Setup) -> None:
    client = s3.server.client(retries={"total_max_attempts": 2, "mode": "standard"})
    script, store = Script(client), s3.new_store(client)
    info = store.create(UploadInfo(id="twice", length=5))
    script.fail("PutObject", Fault.TIMEOUT)
    changed = store.update(replace(info, state=State.FINISHING))
    assert store.get(info.id) == changed
    with pytest.raises(RecordChanged):
        store.update(info)


def test_without_conditional_writes_stale_records_are_still_told() -> None:
    s3 = Setup(conditional_writes=False)
    info = s3.store.create(UploadInfo(id="plain", length=5))
    s3.store.update(info)
    with pytest.raises(RecordChanged):
        s3.store.update(info)


def test_conditional_writes_are_tried_out_once_and_leave_nothing() -> None:
    s3 = Setup(conditional_writes=None)
    for upload in (s3.upload(3), s3.upload(3)):
        upload.terminate()
    assert s3.keys() == []
    assert s3.script.calls.count("PutObject") == 4 + 2


def test_sweep_finds_what_slid_no_longer_and_what_lost_its_parts(s3: Setup) -> None:
    now = datetime.now(UTC)
    limits = replace(UploadInfo(id="x", length=1).limits, max_age=3600.0, sliding=True)
    sliding = s3.store.create(UploadInfo(id="sliding", length=9, expires=now - timedelta(hours=2), limits=limits))
    aborted = s3.store.create(UploadInfo(id="aborted", length=9, expires=now - timedelta(hours=1)))
    s3.client.abort_multipart_upload(
        Bucket=servers.BUCKET, Key=aborted.storage["key"], UploadId=aborted.storage["multipart"]
    )
    assert [info.id for info in s3.store.expired(now)] == ["aborted"]
    assert [info.id for info in s3.store.expired(now + timedelta(hours=2))] == ["aborted", "sliding"]
    expires = s3.store.get(sliding.id).expires
    assert expires is not None
    assert expires > now + timedelta(minutes=59)
    for info in s3.store.expired(now + timedelta(hours=2)):
        s3.store.terminate(info)
    with pytest.raises(UploadNotFound):
        s3.store.get(sliding.id)
    list(s3.store.expired(now + timedelta(hours=3)))
    assert s3.keys() == []


def test_completing_more_or_less_than_the_length_is_refused(s3: Setup) -> None:
    upload = s3.upload(3 * PART)
    upload.append_to(2 * PART)
    with pytest.raises(StoreFailed):
        s3.store.finish(upload.head())


def plain_404(url: str) -> Any:
    class Raw:
        def stream(self, *_: Any, **__: Any) -> Any:
            yield b"404 page not found"

        def read(self, *_: Any, **__: Any) -> bytes:
            return b""

    return AWSResponse(url, 404, {"Content-Type": "text/plain"}, Raw())
