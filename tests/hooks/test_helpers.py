from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hooks.samples import UPLOAD, event, named
from tuspy_server.errors import RejectUpload
from tuspy_server.hooks import helpers
from tuspy_server.hooks.helpers import file_name, keep_finished, mime_type, move_finished, refuse_types
from tuspy_server.hooks.payload import RejectTermination
from tuspy_server.models import Kind, State, UploadInfo


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("C:\\users\\x\\r\u0065\u0301sum\u00e9.txt", "r\u00e9sum\u00e9.txt"),
        ("../../etc/passwd", "passwd"),
        ("..", ""),
        ("a/", ""),
        (".htaccess", "htaccess"),
        ("a\0b\nc.txt", "a_b_c.txt"),
        ("bad\udcff.txt", "bad_.txt"),
        ("gpj\u202eexe.jpg", "gpjexe.jpg"),
        ("x.php. . ", "x.php"),
        ("x.php::$DATA", "x.php__$DATA"),
        ("con.txt", "_con.txt"),
        ("COM1", "_COM1"),
        ("console.txt", "console.txt"),
        ("", ""),
    ],
)
def test_file_names_are_safe_path_segments(given: str, safe: str) -> None:
    assert file_name(named({"filename": given}).upload) == safe


def test_long_names_keep_their_extension_and_whole_characters() -> None:
    name = file_name(named({"name": "é" * 300 + ".tar"}).upload)
    assert len(name.encode()) <= 180
    assert name == "é" * 88 + ".tar"
    assert len(file_name(named({"name": "a." + "b" * 300}).upload)) == 180


def test_media_types_lose_their_parameters() -> None:
    assert mime_type(named({"filetype": "Text/HTML; charset=utf-8"}).upload) == "text/html"
    assert mime_type(named({"type": "image/png"}).upload) == "image/png"
    assert mime_type(named({}).upload) == ""


ALLOW_IMAGES = {"allow_types": ["image/*"]}
DENY_SCRIPTS = {"deny_extensions": [".PHP", "exe"]}
ALLOW_PDF = {"allow_extensions": ["pdf"]}


@pytest.mark.parametrize(
    ("rules", "metadata", "accepted"),
    [
        (ALLOW_IMAGES, {"filetype": "image/png"}, True),
        (ALLOW_IMAGES, {"filetype": "IMAGE/PNG"}, True),
        (ALLOW_IMAGES, {"filetype": "text/html"}, False),
        (ALLOW_IMAGES, {}, False),
        ({**ALLOW_IMAGES, "deny_types": ["image/svg+xml"]}, {"filetype": "image/svg+xml"}, False),
        ({"deny_types": ["text/html"]}, {}, True),
        (DENY_SCRIPTS, {"filename": "a.txt"}, True),
        (DENY_SCRIPTS, {"filename": "a.Php"}, False),
        (DENY_SCRIPTS, {"filename": "a.php.jpg"}, False),
        (DENY_SCRIPTS, {"filename": "a.php. "}, False),
        (DENY_SCRIPTS, {"filename": "a.php::$DATA"}, False),
        (DENY_SCRIPTS, {"filename": "a.p\u200bhp"}, False),
        (DENY_SCRIPTS, {}, True),
        (ALLOW_PDF, {"filename": "a.PDF"}, True),
        (ALLOW_PDF, {"filename": "a.pdf.exe"}, False),
        (ALLOW_PDF, {"filename": "pdf"}, False),
        (ALLOW_PDF, {}, False),
    ],
)
def test_types_and_extensions_are_refused_by_the_rules(
    rules: dict[str, list[str]], metadata: dict[str, str], accepted: bool
) -> None:
    hook = refuse_types(**rules)  # type: ignore[arg-type]
    if accepted:
        hook(named(metadata))
        return
    with pytest.raises(RejectUpload) as refusal:
        hook(named(metadata))
    assert refusal.value.answer_status == 415


def test_parts_pass_the_rules_of_their_final() -> None:
    hook = refuse_types(allow_extensions=["pdf"])
    hook(event("pre_create", metadata={}, kind=Kind.PARTIAL))
    with pytest.raises(RejectUpload):
        hook(event("pre_create", metadata={}, kind=Kind.FINAL))


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"offset": 4}, False),
        ({"length": None}, False),
        ({"state": State.FAILED}, False),
        ({"offset": 11}, True),
        ({"state": State.FINISHING, "length": None}, True),
        ({"state": State.COMPLETE}, True),
    ],
)
def test_finished_uploads_are_kept(changes: dict[str, Any], kept: bool) -> None:
    told = event("pre_terminate", **changes)
    if not kept:
        keep_finished(told)
        return
    with pytest.raises(RejectTermination) as refusal:
        keep_finished(told)
    assert refusal.value.answer_status == 403


class Disk:
    """A store's directory and where finished files go."""

    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        self.target = root / "target"
        self.store.mkdir()

    def path(self, info: UploadInfo) -> Path:
        return self.store / info.id

    def put(self, upload_id: str, content: str) -> None:
        (self.store / upload_id).write_text(content)

    def mover(self, name: Callable[[UploadInfo], str] = file_name) -> Callable[[str], None]:
        hook = move_finished(self.path, self.target, name=name)
        return lambda upload_id: hook(event(id=upload_id, metadata={"filename": "a.txt"}))

    def found(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.target)): path.read_text() for path in self.target.rglob("*") if path.is_file()
        }


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture(params=["same file system", "two file systems"])
def any_disk(request: pytest.FixtureRequest, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    if request.param == "two file systems":
        link = os.link

        def link_within(source: Path, target: Path) -> None:
            if target.exists():
                raise FileExistsError(errno.EEXIST, "exists")
            if disk.store in source.parents:
                raise OSError(errno.EXDEV, "cross-device link")
            link(source, target)

        monkeypatch.setattr(os, "link", link_within)
    return disk


def test_a_finished_file_is_moved_under_its_own_name(any_disk: Disk) -> None:
    any_disk.put("one", "1")
    any_disk.mover()("one")
    assert any_disk.found() == {"a.txt": "1"}
    assert not (any_disk.store / "one").exists()


def test_files_of_one_name_do_not_overwrite_each_other(any_disk: Disk) -> None:
    move = any_disk.mover()
    for upload_id in ("one", "two", "three"):
        any_disk.put(upload_id, upload_id)
        move(upload_id)
    assert any_disk.found() == {"a.txt": "one", "two-a.txt": "two", "three-a.txt": "three"}


def test_a_repeated_delivery_moves_nothing_twice(any_disk: Disk) -> None:
    any_disk.put("one", "1")
    move = any_disk.mover()
    move("one")
    move("one")
    assert any_disk.found() == {"a.txt": "1"}


@pytest.mark.parametrize("crash_at", range(20))
def test_after_a_crash_at_any_step_the_repeat_ends_with_one_whole_file(
    any_disk: Disk, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that changes a name or a file is a place to die, before it and after it."""
    (any_disk.target).mkdir()
    (any_disk.target / "a.txt").write_text("somebody else's")
    any_disk.put("one", "1")
    steps = 0

    def dying(function: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **kwargs: object) -> object:
            nonlocal steps
            steps += 1
            here = steps == crash_at // 2 + 1
            if here and crash_at % 2 == 0:
                raise KeyboardInterrupt
            result = function(*args, **kwargs)
            if here:
                raise KeyboardInterrupt
            return result

        return step

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", dying(os.link))
        patched.setattr(shutil, "copyfileobj", dying(shutil.copyfileobj))
        patched.setattr(shutil, "copystat", dying(shutil.copystat))
        patched.setattr(Path, "unlink", dying(Path.unlink))
        patched.setattr(helpers, "_sync_directory", dying(lambda directory: None))
        with contextlib.suppress(KeyboardInterrupt):
            any_disk.mover()("one")
    any_disk.mover()("one")
    assert any_disk.found() == {"a.txt": "somebody else's", "one-a.txt": "1"}
    assert not any(any_disk.store.iterdir())


def test_names_may_have_directories_and_without_one_the_id_is_the_name(any_disk: Disk) -> None:
    for upload_id, wish in (("one", "2030/01/b.txt"), ("two", "")):
        any_disk.put(upload_id, upload_id)
        any_disk.mover(lambda info, wish=wish: wish)(upload_id)  # type: ignore[misc]
    assert any_disk.found() == {"2030/01/b.txt": "one", "two": "two"}


@pytest.mark.parametrize("wish", ["../b.txt", "/tmp/b.txt", ".", "a/../../b"])
def test_a_wish_that_leads_out_is_refused_and_the_bytes_stay(disk: Disk, wish: str) -> None:
    disk.put("one", "1")
    with pytest.raises(ValueError, match="leads out of"):
        disk.mover(lambda info: wish)("one")
    assert disk.path(UPLOAD).with_name("one").read_text() == "1"


def test_parts_stay_where_they_are(disk: Disk) -> None:
    disk.put("one", "1")
    move_finished(disk.path, disk.target)(event(id="one", kind=Kind.PARTIAL))
    assert (disk.store / "one").exists()
