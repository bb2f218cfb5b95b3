"""Every program of docs/examples does on its real server what it is there to show."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.cli.command import Served
from tests.docs.examples import BODY, EXAMPLES, ORIGIN, Example, command_of, running_example
from tests.servers.wire import eventually

OPEN = [
    "flask_beside",
    "fastapi_mount",
    "starlette_mount",
    "django_beside",
    "litestar_beside",
    "quart_beside",
    "custom_store",
    "async_store",
    "custom_locker",
]
TESTED_ELSEWHERE = {"nats_plugin"}
BASIC = "Basic " + base64.b64encode(b"alice:wonderland").decode()
ALICE = "from django.contrib.auth.models import User; User.objects.create_user('alice', password='x')"
NEEDS = {"litestar_beside": "litestar", "quart_beside": "quart", "async_store": "aiosqlite"}


def needs(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")


@pytest.mark.parametrize("name", OPEN)
def test_a_file_is_uploaded_by_anybody(name: str) -> None:
    needs(name)
    with running_example(name) as example:
        assert_both_urls_answer(example)
        assert example.request("GET", example.upload()).body == BODY


@pytest.mark.parametrize("name", ["flask_beside", "fastapi_mount", "django_beside", "quart_beside", "litestar_beside"])
def test_the_app_is_still_there(name: str) -> None:
    needs(name)
    with running_example(name) as example:
        assert b"Upload to /files" in example.request("GET", "/").body


@pytest.mark.parametrize(
    ("name", "credentials"),
    [
        ("flask_inside", {"Authorization": BASIC}),
        ("fastapi_router", {"Authorization": "Bearer secret-of-alice"}),
        ("per_user", {"X-API-Key": "key-of-alice"}),
    ],
)
def test_only_who_is_known_uploads(name: str, credentials: dict[str, str]) -> None:
    with running_example(name) as example:
        assert_nobody_uploads(example)
        example.headers = credentials
        assert_both_urls_answer(example)
        target = example.upload()
        assert example.request("GET", target).body == BODY
        example.headers = {}
        assert example.request("HEAD", target).status in (401, 404)


@pytest.mark.parametrize("name", ["django_view", "django_asgi"])
def test_only_who_has_a_session_uploads(name: str) -> None:
    with running_example(name) as example:
        assert_nobody_uploads(example)
        example.run(f"import {name}; {ALICE}")
        form = urlencode({"username": "alice", "password": "x"}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = example.request("POST", "/login", kind, form)
        assert answer.status == 204
        example.headers = {"Cookie": answer["set-cookie"].partition(";")[0]}
        assert_both_urls_answer(example)
        target = example.upload()
        assert example.request("GET", target).body == BODY
        example.headers = {}
        assert example.request("HEAD", target).status in (401, 404)


def test_a_finished_file_moves_to_the_media_folder() -> None:
    with running_example("media_folder") as example:
        name = base64.b64encode(b"../../etc/photo 1.jpg").decode()
        target = example.upload(Upload_Metadata=f"filename {name}")
        moved = example.directory / "media" / target.rpartition("/")[2] / "etc_photo_1.jpg"
        eventually(moved.exists)
        assert moved.read_bytes() == BODY
        assert example.request("HEAD", target).offset == len(BODY)


def test_each_user_has_a_directory_and_a_quota() -> None:
    with running_example("per_user") as example:
        example.headers = {"X-API-Key": "key-of-bob"}
        upload_id = example.upload().rpartition("/")[2]
        assert (example.directory / "uploads" / "bob" / upload_id).read_bytes() == BODY
        assert example.request("POST", "/files", {"Upload-Length": str(100 << 20)}).status == 413
        example.headers = {"X-API-Key": "key-of-alice"}
        assert example.request("HEAD", f"/files/{upload_id}").status == 404
        example.create(100 << 20)


@pytest.mark.needs("bash", "curl")
def test_a_dataset_goes_on_after_it_was_cut_off(tmp_path: Path) -> None:
    dataset = tmp_path / "data set"
    (dataset / "sub").mkdir(parents=True)
    files = {"a.bin": BODY[:1000], "b é.bin": 4 * BODY, "empty": b"", "sub/c.bin": BODY}
    for name, content in files.items():
        (dataset / name).write_bytes(content)
    with Served(tmp_path / "stored") as served:
        slow = upload_dataset(served.url, dataset, home=home(tmp_path / "slow", "limit-rate = 1M\n"))
        stored = tmp_path / "stored"
        eventually(lambda: any(0 < size(path) < 4 * len(BODY) and size(path) > 1000 for path in stored.iterdir()), 20)
        os.killpg(slow.pid, signal.SIGKILL)
        slow.wait()
        url = (dataset / "b é.bin.upload").read_text().strip()
        second = upload_dataset(served.url, dataset, home=home(tmp_path / "fast", ""))
        assert second.wait(60) == 0
        assert (dataset / "b é.bin.upload").read_text().strip() == url
        for name, content in files.items():
            target = (dataset / f"{name}.upload").read_text().strip()
            assert (stored / target.rpartition("/")[2]).read_bytes() == content
        third = upload_dataset(served.url, dataset, home=home(tmp_path / "fast", ""))
        assert third.wait(60) == 0
        assert len(list(stored.glob("*.info"))) == len(files)


def test_every_example_is_tested() -> None:
    tested = {*OPEN, "flask_inside", "fastapi_router", "per_user", "django_view", "django_asgi", "media_folder"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested | TESTED_ELSEWHERE
    assert all(command_of(name)[0] in ("gunicorn", "uvicorn", "hypercorn") for name in tested)


def assert_both_urls_answer(example: Example) -> None:
    for target in ("/files", "/files/"):
        preflight = example.client.request("OPTIONS", target, ORIGIN)
        assert (preflight.status, preflight["access-control-allow-origin"]) == (200, "*")
        created = example.request("POST", target, {"Upload-Length": "5"})
        assert (created.status, created["location"].rpartition("/")[0]) == (
            201,
            f"http://127.0.0.1:{example.port}/files",
        )


def assert_nobody_uploads(example: Example) -> None:
    """Also not a large file, whose refusal can be read while it is sent."""
    fields = {"Upload-Length": "5000000", "Content-Type": "application/offset+octet-stream", "Origin": "https://a.b"}
    answer = example.client.request("POST", "/files", fields, bytes(5_000_000))
    assert (answer.status, answer["access-control-allow-origin"]) == (401, "*")
    kept = [path for path in (example.directory / "uploads").rglob("*") if path.is_file() and path.name[0] != "."]
    assert kept == []


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def home(path: Path, settings: str) -> Path:
    """A home directory with settings for curl."""
    path.mkdir(exist_ok=True)
    (path / ".curlrc").write_text(settings)
    return path


def upload_dataset(url: str, dataset: Path, *, home: Path) -> subprocess.Popen[bytes]:
    environ = os.environ | {"HOME": str(home), "CURL_HOME": str(home)}
    return subprocess.Popen([EXAMPLES / "upload_dataset.sh", url, dataset], env=environ, start_new_session=True)
