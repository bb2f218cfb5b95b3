"""`--store-size`: one cap for all that a directory or bucket holds, whoever serves it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.command import TUS, Served
from tests.cli.test_settings import parse
from tuspy_server.cli import main
from tuspy_server.cli.storage import make_composer
from tuspy_server.composer import default_locker
from tuspy_server.models import UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.limited import LimitedStore

FULL = 507


def created(served: Served, size: int) -> int:
    """The status of a creation."""
    return served.request("POST", served.url, {**TUS, "Upload-Length": str(size)})[0]


def test_what_would_make_the_store_too_large_is_refused_until_something_is_deleted(tmp_path: Path) -> None:
    with Served(tmp_path, "--store-size", "100") as served:
        url = served.upload(b"x" * 60)
        status, _, body = served.request("POST", served.url, {**TUS, "Upload-Length": "41"})
        assert status == FULL
        assert b"space" in body
        assert served.request("DELETE", url)[0] == 204
        assert created(served, 100) == 201


def test_expired_uploads_give_their_space_back(tmp_path: Path) -> None:
    sweeping = ["--expires-after", "500ms", "--sweep-interval", "100ms"]
    with Served(tmp_path, "--store-size", "100", *sweeping) as served:
        assert created(served, 100) == 201
        assert served.wait_for("swept uploads=1")
        assert created(served, 100) == 201


def test_workers_share_one_cap(tmp_path: Path) -> None:
    with Served(tmp_path, "--store-size", "100", "--workers", "2") as served:
        served.wait_for("worker started", 2)
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: created(served, 3), range(60)))
        assert answers.count(201) == 100 // 3
        assert answers.count(FULL) == 60 - 100 // 3


def test_commands_on_one_directory_share_one_cap(tmp_path: Path) -> None:
    with Served(tmp_path, "--store-size", "100") as one, Served(tmp_path, "--store-size", "100") as other:
        url = one.create(100)
        assert created(other, 1) == FULL
        assert other.request("DELETE", url)[0] == 204
        assert created(one, 100) == 201


def test_an_unknown_length_is_stopped_at_the_cap(tmp_path: Path) -> None:
    with Served(tmp_path, "--store-size", "100") as served:
        status, headers, _ = served.request("POST", served.url, {**TUS, "Upload-Defer-Length": "1"})
        assert status == 201
        fields = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        assert served.request("PATCH", headers["Location"], fields, b"x" * 101)[0] == FULL


def test_uploads_of_before_count(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        url = served.upload(b"x" * 60)
    with Served(tmp_path, "--store-size", "100") as served:
        served.wait_for("space is limited limit=100 used=60 newly_counted=1")
        assert created(served, 41) == FULL
        assert served.request("DELETE", url)[0] == 204
        assert created(served, 41) == 201


def test_an_operator_s_removal_gives_space_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Served(tmp_path, "--store-size", "100") as served:
        upload_id = served.upload(b"x" * 60).rpartition("/")[2]
        assert main(["rm", "--upload-dir", str(tmp_path), "--store-size", "100", upload_id]) == 0
        assert created(served, 100) == 201


def test_the_count_is_no_upload_and_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Served(tmp_path, "--store-size", "100") as served:
        served.upload(b"x")
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.utime(path, (1, 1))
        assert (tmp_path / ".space").is_dir()
        assert main(["verify", "--upload-dir", str(tmp_path), "--store-size", "100"]) == 0
        assert capsys.readouterr().out == "0 damaged, 0 left\n"
        assert main(["uploads", "--upload-dir", str(tmp_path), "--store-size", "100", "--json"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_count_may_lie_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "count"
    with Served(tmp_path / "data", "--store-size", "100", "--store-size-file", str(file)) as served:
        assert created(served, 101) == FULL
    assert file.is_file()
    assert not (tmp_path / "data" / ".space").exists()


def test_a_capped_directory_has_its_own_locker(tmp_path: Path) -> None:
    composer = make_composer(parse("--upload-dir", str(tmp_path), "--store-size", "1GiB"))
    assert isinstance(composer.store, LimitedStore)
    assert type(composer.locker) is type(default_locker(FileStore(tmp_path)))


def test_a_bucket_needs_a_place_for_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--s3-bucket", "b", "--store-size", "1GiB"]) == 2
    assert "--store-size with --s3-bucket needs --store-size-file" in capsys.readouterr().err


def test_a_bucket_is_capped_and_what_it_holds_is_counted(tmp_path: Path) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    from tests.servers.s3 import BUCKET, KEY_ID, SECRET, moto
    from tuspy_server.backends.s3 import Bucket
    from tuspy_server.stores.s3 import S3Store

    server = moto()
    before = UploadInfo(id="b" * 32, length=60)
    S3Store(Bucket(BUCKET, client=server.client()), prefix="capped").create(before)
    credentials = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    bucket = ["--s3-bucket", BUCKET, "--s3-endpoint", server.url, "--s3-object-prefix", "capped/", "--workers", "2"]
    capped = ["--store-size", "100", "--store-size-file", str(tmp_path / "count")]
    with Served(tmp_path, *bucket, *capped, environment=credentials) as served:
        served.wait_for("used=60 newly_counted=1")
        assert created(served, 41) == FULL
        assert created(served, 40) == 201
        assert served.request("DELETE", f"{served.url}{before.id}")[0] == 204
        assert created(served, 60) == 201
