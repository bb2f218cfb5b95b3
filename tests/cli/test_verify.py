"""`tuspy-server verify` on directories that were damaged in every way of `damaging.DAMAGES`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Served, wait_until_stored
from tests.cli.damaging import DAMAGES, Damaged, age, healthy, put
from tuspy_server.cli import main
from tuspy_server.stores.file import FileStore

BODY = os.urandom(70_000)
Snapshot = dict[str, tuple[bytes | None, bytes | None]]


def verify(directory: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, str]]]:
    code = main(["verify", "--upload-dir", str(directory), "--json", *arguments])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def snapshot(store: FileStore, ids: set[str]) -> Snapshot:
    directory = Path(store.directory)
    places = {upload_id: directory / upload_id for upload_id in ids} | {"4" * 32: directory / "2026/11/data"}
    return {upload_id: (content(directory / f"{upload_id}.info"), content(places[upload_id])) for upload_id in ids}


@pytest.mark.parametrize(("damage", "problem", "outcome"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_each_damage_is_reported_and_mended_beside_healthy_uploads(
    damage: Callable[[Damaged], None],
    problem: str,
    outcome: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = FileStore(tmp_path)
    before = snapshot(store, ids := healthy(store))
    damage(Damaged(store, 0))
    age(tmp_path)
    code, found = verify(tmp_path, capsys)
    assert code == 1
    assert problem in {each["problem"] for each in found}
    assert {each["outcome"] for each in found} == {"found"}
    code, found = verify(tmp_path, capsys, "--repair")
    assert outcome in {each["outcome"] for each in found if each["problem"] == problem}
    for _ in range(2):  # what a repair uncovers, as data whose record was set aside
        age(tmp_path)
        verify(tmp_path, capsys, "--repair")
    code, found = verify(tmp_path, capsys)
    assert {each["remedy"] for each in found} <= {"left alone"}
    assert code == bool(found)
    assert snapshot(store, ids) == before


def test_a_directory_with_all_damages_at_once_keeps_every_healthy_upload(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(tmp_path)
    before = snapshot(store, ids := healthy(store))
    for number, (damage, _, _) in enumerate(DAMAGES):
        damage(Damaged(store, number))
    age(tmp_path)
    _, found = verify(tmp_path, capsys)
    assert len(found) >= len(DAMAGES) >= 20
    assert {each["problem"] for each in found} == {problem for _, problem, _ in DAMAGES}
    verify(tmp_path, capsys, "--repair")
    assert snapshot(store, ids) == before
    assert (tmp_path / "README.txt").read_text() == "do not remove"
    assert b"precious" in {content(path) for path in (tmp_path / ".lost").iterdir()}


def test_a_healthy_directory_is_called_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    healthy(FileStore(tmp_path))
    age(tmp_path)
    assert main(["verify", "--upload-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 damaged, 0 left\n"


def test_what_is_young_is_left_to_whoever_makes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ("c" * 32)).touch()
    assert verify(tmp_path, capsys, "--repair") == (0, [])
    assert (tmp_path / ("c" * 32)).exists()


def test_an_upload_made_while_the_directory_is_looked_at_is_healthy(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    at = Damaged(store, 0)
    at.data.write_bytes(b"arriving")
    audit = store.audit()
    at.write_record(at.info())
    age(tmp_path)
    assert [damage for damage in audit.damages() if damage] == []


def test_an_upload_in_use_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tuspy_server.lockers.file import FileLocker

    store = FileStore(tmp_path)
    put(store, "c" * 32)
    store.path(store.get("c" * 32)).unlink()
    age(tmp_path)
    lock = FileLocker(tmp_path).try_lock("c" * 32, lambda: None, lambda: None)
    assert lock is not None
    code, found = verify(tmp_path, capsys, "--repair")
    lock.release()
    assert (code, [each["outcome"] for each in found]) == (1, ["busy"])
    assert (tmp_path / f"{'c' * 32}.info").exists()


def test_a_served_directory_is_verified_while_uploads_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Served(tmp_path, "--durability", "always") as served:
        url = served.create(2 * len(BODY))
        with served.begin_append(url, BODY, 2 * len(BODY)) as connection:
            wait_until_stored(tmp_path, len(BODY))
            age(tmp_path)
            assert verify(tmp_path, capsys, "--repair") == (0, [])
            connection.sendall(BODY)
            assert connection.recv(64).startswith(b"HTTP/1.1 204 ")
        assert served.request("GET", url)[2] == BODY + BODY


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_person_who_watches_sees_progress_and_a_program_plain_lines(tmp_path: Path) -> None:
    import pty

    pytest.importorskip("rich", reason="rich is not installed")
    healthy(FileStore(tmp_path))
    command = [sys.executable, "-m", "tuspy_server", "verify", "--upload-dir", str(tmp_path)]
    plain = subprocess.run(command, capture_output=True, check=True)
    assert (plain.stdout, plain.stderr) == (b"0 damaged, 0 left\n", b"")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    watched = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment)
    os.close(theirs)
    seen = os.read(ours, 65536)
    os.close(ours)
    assert watched.stdout == b"0 damaged, 0 left\n"
    assert b"verifying" in seen
