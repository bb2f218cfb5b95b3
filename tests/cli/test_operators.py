"""The operator's commands on a store, and `check` against a served one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.cli.damaging import NOW, put
from tests.stores.listing import assert_lists_every_upload
from tuspy_server.cli import main
from tuspy_server.errors import UploadGone, UploadNotFound
from tuspy_server.lockers.file import FileLocker
from tuspy_server.models import State
from tuspy_server.stores.file import FileStore

A, B = "a" * 32, "b" * 32


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An unfinished upload A of ten days ago, expired, and a complete upload B."""
    store = FileStore(tmp_path)
    info = put(store, A)
    store.update(replace(info, created=NOW - timedelta(days=10), expires=NOW - timedelta(days=1)))
    put(store, B, state=State.COMPLETE)
    return store


def printed(store: FileStore, capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> tuple[int, list[str]]:
    code = main([name, "--upload-dir", store.directory, *arguments])
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ([], [A, B]),
        (["--state", "open"], [A]),
        (["--state", "open", "--state", "complete"], [A, B]),
        (["--older-than", "7d"], [A]),
        (["--newer-than", "7d"], [B]),
        (["--state", "gone"], []),
    ],
)
def test_uploads_are_listed_by_state_and_age(
    arguments: list[str], ids: list[str], store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = printed(store, capsys, "uploads", "--json", *arguments)
    assert (code, [json.loads(line)["id"] for line in lines]) == (0, ids)
    code, lines = printed(store, capsys, "uploads", *arguments)
    assert [line.split()[0] for line in lines] == ["ID", *ids]


def test_a_file_store_lists_every_upload(tmp_path: Path) -> None:
    assert_lists_every_upload(FileStore(tmp_path))


def test_the_store_is_chosen_by_environment_and_file_as_for_serving(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUSPY_SERVER_UPLOAD_DIR", store.directory)
    assert main(["show", A]) == 0
    monkeypatch.setenv("TUSPY_SERVER_UPLOAD_DIR", "")
    monkeypatch.delenv("TUSPY_SERVER_UPLOAD_DIR")
    file = tmp_path / "tuspy.toml"
    file.write_text(f'port = 1\nupload-dir = "{store.directory}"\n')
    capsys.readouterr()
    assert main(["uploads", "--config", str(file), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_directory_that_is_missing_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uploads", "--upload-dir", str(tmp_path / "typo")]) == 1
    assert "typo is not a directory" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_one_upload_is_shown(store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = printed(store, capsys, "show", A)
    assert code == 0
    assert {f"id: {A}", "state: open", "offset: 13", "length: 26"} <= set(lines)
    code, lines = printed(store, capsys, "show", "--json", B)
    assert json.loads(lines[0])["state"] == "complete"
    assert printed(store, capsys, "show", "c" * 32)[0] == 1


def test_removed_uploads_leave_a_tombstone_unless_it_is_now(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(store, capsys, "rm", A) == (0, [f"removed {A}"])
    with pytest.raises(UploadGone):
        store.get(A)
    assert printed(store, capsys, "rm", "--now", B) == (0, [f"removed {B}"])
    with pytest.raises(UploadNotFound):
        store.get(B)
    assert printed(store, capsys, "rm", A, B) == (1, [f"already gone: {A}", f"not found: {B}"])


def test_a_finishing_upload_is_not_removed(store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, "c" * 32, state=State.FINISHING)
    assert printed(store, capsys, "rm", "c" * 32) == (1, [f"finishing, left alone: {'c' * 32}"])
    assert store.get("c" * 32).state is State.FINISHING


def test_the_sweep_removes_what_expired_and_a_dry_run_nothing(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(store, capsys, "sweep", "--dry-run") == (0, [f"removed {A}"])
    assert store.get(A).offset == 13
    lock = FileLocker(store.directory).try_lock(A, lambda: None, lambda: None)
    assert lock is not None
    assert printed(store, capsys, "sweep") == (0, [f"busy {A}"])
    lock.release()
    assert printed(store, capsys, "sweep") == (0, [f"removed {A}"])
    with pytest.raises(UploadGone):
        store.get(A)


def test_a_served_directory_passes_every_check_and_keeps_no_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Served(tmp_path, "--interim-responses") as served:
        assert main(["check", served.url]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines] == [
            ["ok", f"{name}:"] for name in ("discovery", "location", "cors", "streaming", "cut", "chunked", "interim")
        ]
        assert "104 answers pass" in lines[-1]
        assert not [info for info in FileStore(tmp_path).uploads() if info.state is not State.GONE]


def test_what_is_missing_fails_its_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--disable-cors", "--base-url", "http://elsewhere.example/files/"]
    with Served(tmp_path, *arguments) as served:
        assert main(["check", "--timeout", "1s", served.url]) == 1
    failed = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert failed[:2] == ["location:", "cors:"]


@pytest.mark.parametrize("arguments", [["check", "ftp://x/"], ["check", "http://h/", "--header", "x"], ["check"]])
def test_bad_arguments_of_check_get_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
