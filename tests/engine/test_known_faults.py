"""Faults that other servers have or had, each tried on the file store: uploads shared by processes, taken disk, lost
metadata, and requests that come too late."""

from __future__ import annotations

import base64
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine.client import APPEND, EngineClient
from tuspy_server import Config, FileStore, Hooks, RejectUpload
from tuspy_server.models import HookEvent, UploadInfo


def served(directory: Path) -> EngineClient:
    """A process that serves the directory: it shares nothing with another but the files."""
    return EngineClient(FileStore(directory))


def test_a_declared_length_takes_no_disk(tmp_path: Path) -> None:
    upload = served(tmp_path).create(20 << 30).id
    assert served(tmp_path).head(upload).offset == 0
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*")) < 1 << 20


def test_no_process_remembers_what_another_has_changed(tmp_path: Path) -> None:
    one, other = served(tmp_path), served(tmp_path)
    upload = one.create(None).id
    assert other.append(upload, 0, b"hello ").offset == 6
    assert one.head(upload).offset == 6
    assert one.append(upload, 6, b"world", upload_length="11").offset == 11
    assert other.head(upload)["upload-length"] == "11"
    assert other.get(upload).body == b"hello world"
    assert one.delete(upload).status == 204
    assert other.head(upload).status == 410


def test_a_directory_that_became_empty_takes_the_next_upload(tmp_path: Path) -> None:
    client = EngineClient(FileStore(tmp_path), Config(tombstone_period=0))
    for body in (b"first", b"second"):
        upload = client.create(len(body), body).id
        assert client.get(upload).body == body
        assert client.delete(upload).status == 204
        assert client.head(upload).status == 404


def test_every_byte_of_metadata_survives_the_record(tmp_path: Path) -> None:
    name = b"a\xff\xfe.txt"
    raw = f"name {base64.b64encode(name).decode()},flag, w\xfc w7w="
    upload = served(tmp_path).create(5, upload_metadata=raw).id
    info = FileStore(tmp_path).get(upload)
    assert info.raw_metadata == raw
    assert info.metadata["name"].encode("utf-8", "surrogateescape") == name
    assert served(tmp_path).head(upload)["upload-metadata"] == raw


def test_an_append_of_a_stranger_is_refused_before_its_bytes_are_read(tmp_path: Path) -> None:
    upload = served(tmp_path).create(10, b"mine ").id

    def guard(event: HookEvent) -> None:
        raise RejectUpload(status=401)

    class Unread:
        async def read(self) -> Sequence[bytes] | None:
            raise AssertionError("read although the request is refused")

        def take(self) -> Sequence[bytes]:
            return ()

        def interrupt(self, reason: Exception) -> None:
            return None

    stranger = EngineClient(FileStore(tmp_path), hooks=Hooks(pre_access=guard))
    for headers in ({**APPEND, "Upload-Offset": "5"}, {"Content-Type": "text/plain", "Upload-Offset": "5"}):
        assert stranger.request("PATCH", upload, headers, Unread()).status in (401, 415)
    assert stranger.request("PATCH", upload, {**APPEND, "Upload-Offset": "5"}, Unread(), version=None).status == 412
    assert served(tmp_path).head(upload).offset == 5
    assert (tmp_path / upload).read_bytes() == b"mine "


def test_a_writer_that_was_overtaken_rewinds_nothing(tmp_path: Path) -> None:
    late = FileStore(tmp_path)
    client = served(tmp_path)
    upload = client.create(5).id
    seen = late.get(upload)
    assert client.append(upload, 0, b"hello").status == 204
    with pytest.raises(Exception, match="changed"):
        late.open(seen, fence=None)
    assert client.head(upload).offset == 5
    assert client.get(upload).body == b"hello"


def test_an_append_that_comes_after_the_removal_brings_nothing_back(tmp_path: Path) -> None:
    late = FileStore(tmp_path)
    client = served(tmp_path)
    upload = client.create(5, b"hell").id
    seen = late.get(upload)
    assert client.delete(upload).status == 204
    with pytest.raises(Exception, match=r"not found|no longer|changed"):
        late.open(seen, fence=None)
    assert client.append(upload, 4, b"o").status == 410
    assert not (tmp_path / upload).exists()


def _rewrite(directory: Path, upload: str, ready: Any, stop: Any) -> None:
    store = FileStore(directory)
    info: UploadInfo = store.get(upload)
    while not stop.is_set():
        info = store.update(info)
        ready.set()


def test_a_record_that_is_being_replaced_is_always_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    client = served(tmp_path)
    upload = client.create(5, upload_metadata="big " + base64.b64encode(b"x" * 20_000).decode()).id
    writer = context.Process(target=_rewrite, args=(tmp_path, upload, ready, stop))
    writer.start()
    try:
        assert ready.wait(30)
        assert {client.store.get(upload).length for _ in range(300)} == {5}  # type: ignore[union-attr]
    finally:
        writer.kill()
        writer.join()
    assert served(tmp_path).head(upload).offset == 0
