"""What an operator and a hook can choose for S3, and what the process spends."""

from __future__ import annotations

import io
import itertools
import threading
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (  # type: ignore[import-untyped, unused-ignore]
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
)
from werkzeug.test import Client

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.stores.s3_client import Upload
from tuspy_server import Hooks, WSGIApp
from tuspy_server.backends.s3 import Bucket, Missing, Refused, translate
from tuspy_server.errors import StoreFailed, StoreFull, StoreUnavailable, UploadGone, UploadTooLarge
from tuspy_server.hooks.payload import decode
from tuspy_server.models import HookEvent, HookResult, State, UploadInfo
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_buffer import MemoryBuffer
from tuspy_server.stores.s3_parts import PartLimits
from tuspy_server.stores.s3_pool import Flight, PartPool

MIN = servers.SMALL_PART
PART = 2 * MIN
DATA = bytes(n * 31 % 251 for n in range(10 * PART))

_prefixes = (f"options-{n}/" for n in itertools.count())


def new_store(**options: Any) -> S3Store:
    settings = {"limits": PartLimits(part_size=PART, min_part_size=MIN), "conditional_writes": True, **options}
    bucket = Bucket(servers.BUCKET, client=servers.moto().client())
    return S3Store(bucket, prefix=next(_prefixes), **settings)


def stored(store: S3Store, size: int = 3, **fields: Any) -> UploadInfo:
    """A finished upload."""
    info = store.create(replace(UploadInfo(id="it", length=size), **fields))
    writer = store.open(info, fence=None)
    writer.write([DATA[:size]])
    assert writer.close() == size
    store.finish(info)
    return info


def head(store: S3Store, info: UploadInfo) -> dict[str, Any]:
    return store.bucket.call("head_object", Key=info.storage["key"])


@pytest.mark.parametrize("size", [0, 3, 3 * PART])
def test_hook_chooses_key_and_arguments_of_one_upload(size: int) -> None:
    store = new_store(arguments={"CacheControl": "no-cache", "ContentType": "text/plain"})
    chosen = {"key": f"chosen/{size}", "ContentType": "image/png", "StorageClass": "STANDARD_IA"}
    info = stored(store, size, storage={**chosen, "ContentDisposition": 'attachment; filename="a.png"'})
    assert info.storage["key"] == f"chosen/{size}"
    answer = head(store, info)
    assert answer["ContentType"] == "image/png"
    assert answer["ContentDisposition"] == 'attachment; filename="a.png"'
    assert answer["CacheControl"] == "no-cache"
    if size:
        assert answer["StorageClass"] == "STANDARD_IA"


@pytest.mark.parametrize("size", [0, 3])
def test_a_hook_of_the_command_chooses_how_one_upload_is_stored(size: int) -> None:
    """By the answer that tusd's hooks give, with boto3's names in `Storage`."""
    chosen = {"StorageClass": "STANDARD_IA", "ACL": "public-read", "Tagging": "kind=report"}
    store, asked = new_store(arguments={"StorageClass": "GLACIER_IR"}), itertools.count()

    def decide(event: HookEvent) -> HookResult | None:
        return None if next(asked) else decode(event, {"ChangeFileInfo": {"Storage": chosen}})

    client = Client(WSGIApp(store, hooks=Hooks(pre_create=decide)))
    for storage_class, tags in (("STANDARD_IA", 1), ("GLACIER_IR", 0)):
        fields = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size)}
        fields |= {"Content-Type": "application/offset+octet-stream"} if size else {}
        upload = client.post("/", headers=fields, data=DATA[:size]).headers["Location"].rpartition("/")[2]
        info = store.get(upload)
        assert info.state is State.COMPLETE
        assert head(store, info)["StorageClass"] == storage_class
        key = info.storage["key"]
        if tags:
            assert "AllUsers" in str(store.bucket.call("get_object_acl", Key=key)["Grants"])
        assert len(store.bucket.call("get_object_tagging", Key=key)["TagSet"]) == tags


def test_arguments_may_depend_on_the_record() -> None:
    store = new_store(arguments=lambda info: {"Metadata": {"owner": info.principal or ""}})
    assert head(store, stored(store, principal="ada"))["Metadata"]["owner"] == "ada"


@pytest.mark.parametrize("sizes", [[1, 2, 3], [20_000, 5, 5, 70_000], [16_384], []])
def test_pieces_are_read_from_any_place(sizes: list[int]) -> None:
    data = bytes(n * 31 % 251 for n in range(sum(sizes)))
    buffer, start = MemoryBuffer(), 0
    for size in sizes:
        buffer.add(memoryview(data)[start : start + size])
        start += size
    assert buffer.size == len(data)
    body = buffer.body()
    for place in {0, 1, 15, len(data) // 2, len(data)}:
        assert body.seek(place) == body.tell() == min(place, len(data))
        assert b"".join(iter(lambda: body.read(1000), b"")) == data[place:]
    assert body.seek(-1, io.SEEK_END) == max(0, len(data) - 1)
    assert body.read() == data[-1:]


@pytest.mark.parametrize(
    ("declared", "stored_as"), [("image/png", "image/png"), ("no type\r\nX: y", None), ("ü/ü", None)]
)
def test_declared_file_type_becomes_the_content_type_if_it_is_one(declared: str, stored_as: str | None) -> None:
    store = new_store()
    content_type = head(store, stored(store, metadata={"filetype": declared}))["ContentType"]
    assert content_type == stored_as or (stored_as is None and "type\r" not in content_type)


def test_key_follows_template_or_callable() -> None:
    when = datetime(2030, 1, 2, tzinfo=UTC)
    store = new_store(key="{created:%Y/%m/%d}/{id}.bin")
    assert store.create(UploadInfo(id="a", length=1, created=when)).storage["key"].endswith("/2030/01/02/a.bin")
    store = new_store(key=lambda info: f"{info.metadata['filename']}")
    assert store.create(UploadInfo(id="a", length=1, metadata={"filename": "ü b"})).storage["key"].endswith("/ü b")


@pytest.mark.parametrize(("prefix", "before"), [("", ""), ("a", "a/"), ("a/", "a/"), ("a/b", "a/b/")])
def test_prefix_is_a_folder_with_or_without_its_slash(prefix: str, before: str) -> None:
    store = S3Store(Bucket(servers.BUCKET), prefix=prefix)
    assert store.keys.object(UploadInfo(id="x", length=1)) == f"{before}x"
    assert store.keys.record("x") == f"{before}.tus/x/info"


@pytest.mark.parametrize("key", ["", "x" * 1025])
def test_unusable_key_is_refused(key: str) -> None:
    store = S3Store(Bucket(servers.BUCKET, client=servers.moto().client()), key=lambda _: key)
    with pytest.raises(StoreFailed):
        store.create(UploadInfo(id="a", length=1))


def test_key_among_the_side_objects_is_refused() -> None:
    store = new_store()
    with pytest.raises(StoreFailed):
        store.create(UploadInfo(id="a", length=1, storage={"key": store.keys.side + "b/info"}))


def test_too_large_an_upload_is_refused_at_creation_and_at_declaration() -> None:
    store = new_store(limits=PartLimits(part_size=PART, min_part_size=MIN, max_object_size=1000))
    with pytest.raises(UploadTooLarge):
        store.create(UploadInfo(id="a", length=1001))
    info = store.create(UploadInfo(id="b", length=None))
    with pytest.raises(UploadTooLarge):
        store.declare_length(info, 1001)


def test_side_objects_carry_the_tag_of_unfinished_uploads() -> None:
    store = new_store(expiry_tags=True)
    info = store.create(UploadInfo(id="it", length=9, expires=datetime(2030, 1, 1, tzinfo=UTC)))
    writer = store.open(info, fence=3)
    writer.write([b"abc"])
    writer.close()

    def tags() -> dict[str, str]:
        keys = [entry.key for entry in store.bucket.list(store.keys.folder("it"))]
        sets = {key.rpartition("/")[2]: store.bucket.call("get_object_tagging", Key=key)["TagSet"] for key in keys}
        return {name.partition("-")[0]: tag["Value"] for name, (tag,) in sets.items()}

    assert tags() == {"info": "false", "owner": "false", "tail": "false"}
    store.update(replace(store.get("it"), state=State.COMPLETE, expires=None))
    assert tags()["info"] == "true"


def test_equal_parts_are_equal_whatever_the_appends() -> None:
    store = new_store(limits=PartLimits(part_size=PART, min_part_size=MIN, equal_parts=True))
    sizes: list[int] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        sizes.append(params["body"].seek(0, io.SEEK_END))
        params["body"].seek(0)

    store.bucket.client.meta.events.register("before-call.s3.UploadPart", note)
    upload = Upload(store, DATA[: 4 * PART + 5])
    for stop in range(0, 4 * PART, MIN + 7):
        upload.append_to(stop)
    upload.append_to(len(upload.data))
    upload.finish()
    assert upload.content() == upload.data
    assert sizes == [PART] * 4 + [5]


def test_parts_can_be_kept_on_disk_and_leave_nothing_there(tmp_path: Path) -> None:
    store = new_store(spool=tmp_path)
    upload = Upload(store, DATA)
    upload.append_to(MIN - 1)
    upload.append_to(PART, staged=True)
    upload.append_to(len(DATA))
    upload.finish()
    assert upload.content() == upload.data
    assert list(tmp_path.iterdir()) == []


def test_presigned_url_serves_the_object_for_a_while() -> None:
    store = new_store()
    info = stored(store, 3 * PART)
    url = store.download_url(info, seconds=60, ResponseContentDisposition="inline")
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == DATA[: 3 * PART]


class Brittle:
    """A body whose connection breaks after `good` bytes."""

    def __init__(self, body: Any, good: int) -> None:
        self._body = body
        self._good = good

    def read(self, size: int | None = None) -> bytes:
        if not self._good:
            raise IncompleteReadError(actual_bytes=0, expected_bytes=1)
        piece: bytes = self._body.read(min(self._good, size or self._good))
        self._good -= len(piece)
        return piece

    def close(self) -> None:
        self._body.close()


def test_download_goes_on_where_its_connection_broke() -> None:
    store = new_store()
    info = stored(store, 3 * PART)
    breaks = iter([5, PART, 0])

    def brittle(parsed: dict[str, Any], **_: Any) -> None:
        good = next(breaks, None)
        if good is not None:
            parsed["Body"] = Brittle(parsed["Body"], good)

    store.bucket.client.meta.events.register("after-call.s3.GetObject", brittle)
    assert b"".join(store.read(info, 7, 3 * PART)) == DATA[7 : 3 * PART]


def test_download_that_keeps_breaking_is_unavailable_in_the_end() -> None:
    store = new_store()
    info = stored(store, 3 * PART)

    def brittle(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Body"] = Brittle(parsed["Body"], 0)

    store.bucket.client.meta.events.register("after-call.s3.GetObject", brittle)
    with pytest.raises(StoreUnavailable):
        list(store.read(info, 0, PART))


def test_object_replaced_by_another_of_other_size_is_not_served() -> None:
    store = new_store()
    info = stored(store, PART)
    store.bucket.put(info.storage["key"], b"x" * (PART + 1))
    with pytest.raises(UploadGone):
        list(store.read(info, 0, PART))


def test_hasty_bucket_gives_up_sooner() -> None:
    bucket = Bucket("b", endpoint_url="http://127.0.0.1:1", region="us-east-1")
    assert bucket.hasty(2.0).client.meta.config.read_timeout == 2.0
    assert bucket.client.meta.config.read_timeout == 60.0


def client_error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")


@pytest.mark.parametrize(
    ("error", "operation", "kind"),
    [
        (client_error("SlowDown", 503), "put_object", StoreUnavailable),
        (client_error("InternalError", 200), "complete_multipart_upload", StoreUnavailable),
        (client_error("", 502), "put_object", StoreUnavailable),
        (client_error("404", 404), "get_object", StoreUnavailable),
        (client_error("404", 404), "head_object", Missing),
        (client_error("NoSuchUpload", 404), "list_parts", Missing),
        (client_error("PreconditionFailed", 412), "put_object", Refused),
        (client_error("ConditionalRequestConflict", 409), "put_object", Refused),
        (client_error("QuotaExceeded", 403), "put_object", StoreFull),
        (client_error("AccessDenied", 403), "put_object", StoreFailed),
        (client_error("NoSuchBucket", 404), "put_object", StoreFailed),
        (EndpointConnectionError(endpoint_url="http://x"), "put_object", StoreUnavailable),
        (NoCredentialsError(), "put_object", StoreFailed),
    ],
)
def test_foreign_errors_are_told_apart(error: Exception, operation: str, kind: type[Exception]) -> None:
    translated = translate(error, operation)
    assert type(translated) is kind
    assert "http" not in str(translated)


def test_store_out_of_reach_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    bucket = Bucket("b", endpoint_url="http://127.0.0.1:1", region="us-east-1", retries=1)
    store = S3Store(bucket, conditional_writes=True)
    with pytest.raises(StoreUnavailable):
        store.get("a")


def test_one_upload_holds_no_more_parts_than_it_may() -> None:
    pool = PartPool(8, 100)
    flight = Flight(pool, 2)
    running, gate = threading.Semaphore(0), threading.Event()

    def part() -> None:
        running.release()
        gate.wait()

    flight.launch(10, part)
    flight.launch(10, part)
    running.acquire()
    running.acquire()
    third = threading.Thread(target=flight.launch, args=(10, part))
    third.start()
    assert not running.acquire(timeout=0.05)
    gate.set()
    third.join()
    flight.wait()
    assert running.acquire(timeout=5)


def test_process_holds_no_more_bytes_than_it_may_and_lets_a_giant_go_alone() -> None:
    pool = PartPool(8, 100)
    running, gate = threading.Semaphore(0), threading.Event()

    def part() -> None:
        running.release()
        gate.wait()

    pool.submit(1000, part)
    assert running.acquire(timeout=5)
    waiting = threading.Thread(target=pool.submit, args=(1, part))
    waiting.start()
    assert not running.acquire(timeout=0.05)
    gate.set()
    waiting.join()
    assert running.acquire(timeout=5)
