"""Where FileStore puts files, and that nothing leads it outside its directory."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tuspy_server.errors import StoreFailed, TusError, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.testing.stores import HOSTILE_IDS

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

HOSTILE_PATHS = (
    *("..", "../up", "a/../../up", "a/..", ".", "a/./b", "", "/", "a//b", "a/", "/etc/passwd", "nul\0byte"),
    *("a\\..\\up", "line\nbreak", "x.info", "sub/X.INFO", ".tuspy-server", "sub/.hidden", "\ud800"),
)


def stored(store: FileStore, info: UploadInfo, data: bytes) -> UploadInfo:
    info = store.create(info)
    writer = store.open(info, fence=None)
    writer.write([data])
    return replace(info, offset=writer.close())


def everything_below(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*")}


@pytest.mark.parametrize("upload_id", [*HOSTILE_IDS, "x.info", "x.INFO", "x.lock", "x.stage", "x.tmp"], ids=ascii)
def test_hostile_id_makes_no_file(tmp_path: Path, upload_id: str) -> None:
    store = FileStore(tmp_path / "in" / "side")
    with pytest.raises(TusError):
        store.create(UploadInfo(id=upload_id, length=1))
    with pytest.raises(UploadNotFound):
        store.terminate(UploadInfo(id=upload_id, length=1))
    assert everything_below(tmp_path) == {"in", "in/side"}


@pytest.mark.parametrize("place", HOSTILE_PATHS, ids=ascii)
def test_hostile_path_of_a_hook_makes_no_file(tmp_path: Path, place: str) -> None:
    store = FileStore(tmp_path / "in" / "side")
    with pytest.raises(StoreFailed):
        store.create(UploadInfo(id="a", length=1, storage={"path": place}))
    with pytest.raises(StoreFailed):
        store.path(UploadInfo(id="a", length=1, storage={"path": place}))
    assert everything_below(tmp_path) == {"in", "in/side"}


def test_metadata_in_a_template_does_not_lead_outside(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "inside", path_template="{metadata[name]}/{id}")
    with pytest.raises(StoreFailed):
        store.create(UploadInfo(id="a", length=1, metadata={"name": "../../up"}))
    assert everything_below(tmp_path) == {"inside"}


@pytest.mark.parametrize("place", ["link/a", "link/deeper/a", "real/../link/a"])
def test_symbolic_link_among_the_parents_is_refused(tmp_path: Path, place: str) -> None:
    store = FileStore(tmp_path / "inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreFailed):
        store.create(UploadInfo(id="a", length=1, storage={"path": place}))
    assert everything_below(tmp_path / "outside") == set()


def test_symbolic_link_in_place_of_the_data_is_not_followed(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "inside")
    victim = tmp_path / "victim"
    victim.write_bytes(b"abc")
    info = stored(store, UploadInfo(id="a", length=6), b"abc")
    store.path(info).unlink()
    store.path(info).symlink_to(victim)
    with pytest.raises(UploadGone):
        store.get("a")
    with pytest.raises(TusError):
        store.open(info, fence=None)
    with pytest.raises(UploadGone):
        list(store.read(info, 0, 3))
    store.terminate(info)
    assert victim.read_bytes() == b"abc"


def test_directory_may_itself_be_a_link_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    store = FileStore("link")
    monkeypatch.chdir("/")
    place = f"{tmp_path}/link/sub/a.bin"
    info = stored(store, UploadInfo(id="a", length=3, storage={"path": place}), b"abc")
    assert info.storage["path"] == "sub/a.bin"
    assert (tmp_path / "real" / "sub" / "a.bin").read_bytes() == b"abc"


@pytest.mark.parametrize("place", ["report 2030.pdf", "a/b/c.bin", "ünï/名前.txt", "abs"])
def test_hook_chooses_the_place(tmp_path: Path, place: str) -> None:
    store = FileStore(tmp_path)
    preset = str(tmp_path / "absolute.bin") if place == "abs" else place
    info = stored(store, UploadInfo(id="a", length=3, storage={"path": preset, "own": "x"}), b"abc")
    assert store.get("a").storage == {"path": "absolute.bin" if place == "abs" else place, "own": "x"}
    assert store.path(info).read_bytes() == b"abc"
    assert b"".join(store.read(store.get("a"), 0, 3)) == b"abc"


def test_template_chooses_the_place(tmp_path: Path) -> None:
    store = FileStore(tmp_path, path_template="{created:%Y/%m/%d}/{id}")
    info = stored(store, UploadInfo(id="a", length=3, created=NOW), b"abc")
    assert store.path(info) == tmp_path / "2030/01/02/a"
    assert store.path(info).read_bytes() == b"abc"
    assert store.path(store.get("a")) == store.path(info)


def test_place_that_is_taken_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    first = stored(store, UploadInfo(id="a", length=3, storage={"path": "same"}), b"abc")
    with pytest.raises(UploadExists):
        store.create(UploadInfo(id="b", length=3, storage={"path": "same"}))
    (tmp_path / "of-the-app").write_bytes(b"")
    with pytest.raises(UploadExists):
        store.create(UploadInfo(id="c", length=3, storage={"path": "of-the-app"}))
    assert store.path(first).read_bytes() == b"abc"
    with pytest.raises(UploadNotFound):
        store.get("b")


def test_id_that_is_taken_at_another_place_leaves_no_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    stored(store, UploadInfo(id="a", length=3), b"abc")
    with pytest.raises(UploadExists):
        store.create(UploadInfo(id="a", length=3, storage={"path": "elsewhere"}))
    assert everything_below(tmp_path) == {"a", "a.info"}


def test_update_cannot_move_the_bytes(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    info = stored(store, UploadInfo(id="a", length=3, storage={"path": "sub/a"}), b"abc")
    changed = store.update(replace(info, storage={"path": "../up", "own": "x"}))
    assert changed.storage == store.get("a").storage == {"path": "sub/a", "own": "x"}


def test_removed_upload_makes_room_for_another_at_its_place(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    info = stored(store, UploadInfo(id="a", length=3, storage={"path": "same"}), b"abc")
    store.terminate(replace(info, state=State.GONE, expires=NOW))
    heir = stored(store, UploadInfo(id="b", length=3, storage={"path": "same"}), b"xyz")
    (grave,) = store.expired(NOW)
    store.terminate(replace(grave, expires=None))
    assert store.path(heir).read_bytes() == b"xyz"


def test_modes_are_the_given_ones(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileStore(tmp_path / "made", file_mode=0o640, dir_mode=0o750)
        info = store.create(UploadInfo(id="a", length=3, storage={"path": "sub/a"}))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "made", *tmp_path.rglob("*")]}
    assert store.path(info).name == "a"
    assert modes == {"made": 0o750, "sub": 0o750, "a": 0o640, "a.info": 0o640}
