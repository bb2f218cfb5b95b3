"""kill -9 of a real process between every two calls to S3, and what the next process finds."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.stores.s3_client import Upload, patiently
from tests.stores.s3_killed import content, store_on
from tuspy_server.errors import UploadNotFound
from tuspy_server.stores.s3 import S3Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")

CAMPAIGN = bool(os.environ.get("TUSPY_SERVER_CAMPAIGN"))
Start = Callable[[], servers.S3Server]

#: Before which of the calls: every, every third, ...
STRIDES: dict[Start, int] = (
    {servers.seaweedfs: 1, servers.moto: 3, servers.radosgw: 21} if CAMPAIGN else {servers.moto: 23}
)
FIRST, LAST = (0, 1000) if CAMPAIGN else (2, 140)


_prefixes = (f"killed-{os.getpid()}-{n}/" for n in itertools.count())


@pytest.fixture(autouse=True)
def disk_is_given_back() -> Iterator[None]:
    """Each row of the campaign writes gigabytes."""
    yield
    if CAMPAIGN:
        servers.end_seaweedfs()


@pytest.mark.parametrize("start", STRIDES, ids=lambda start: start.__name__)
@pytest.mark.parametrize("fault", ["KILLED", "KILLED_AFTER"])
def test_killed_between_any_two_calls_loses_nothing(start: Start, fault: str, tmp_path: Path) -> None:
    server, prefix, stride = start(), next(_prefixes), STRIDES[start]
    words = [server.url, server.min_part_size, prefix, tmp_path, fault, FIRST, LAST, stride]
    command = [sys.executable, "-m", "tests.stores.s3_killed", *map(str, words)]
    killed = int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=3600).stdout)
    assert killed >= 5
    for turn in range(FIRST, FIRST + killed * stride, stride):
        store = store_on(server, f"{prefix}{turn}/")
        uploads: dict[str, Upload] = {}
        for (name, upload_id), events in last_words(tmp_path / str(turn)).items():
            try:
                resume(store, name, upload_id, events, server.min_part_size, uploads)
            except Exception as exc:
                raise AssertionError(f"{name} killed at call {turn}: {events}") from exc


def last_words(path: Path) -> dict[tuple[str, str], dict[str, int]]:
    """The last value of each event of each upload."""
    told: dict[tuple[str, str], dict[str, int]] = {}
    for line in path.read_text().splitlines():
        name, upload_id, event, value = line.split(" ")
        told.setdefault((name, upload_id), {})[event] = int(value)
    return told


def resume(
    store: S3Store, name: str, upload_id: str, events: dict[str, int], unit: int, uploads: dict[str, Upload]
) -> None:
    if "ending" in events:
        try:
            store.terminate(patiently(lambda: store.get(upload_id)))
        except UploadNotFound:
            return
        with pytest.raises(UploadNotFound):
            store.get(upload_id)
        return
    upload = uploads[name] = Upload(
        store,
        content(name, unit),
        fenced=True,
        upload_id=upload_id,
        sent=events["sent"],
        acknowledged=events.get("acknowledged", 0),
    )
    if name == "final":
        if upload.head().offset < len(upload.data):
            upload.concat([uploads["part"], uploads["small"]])
    else:
        upload.append_to(len(upload.data))
    upload.finish()
    assert upload.content() == upload.data
