"""kill -9 of a real process at every step of its uploads."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.stores.scribe import NOW, SOURCE
from tests.stores.test_power_loss import content, found, resume_and_compare
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.stores.upload_records import Durability

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")

PREFIXES = {"two": 40}
PLACES = {"plain": "plain", "placed": "a/b/name.bin"}


@pytest.mark.parametrize("durability", ["finish", "always"])
@pytest.mark.parametrize("script", ["plain", "staged", "concatenated"])
def test_killed_at_every_call_loses_nothing(memory_path: Path, durability: Durability, script: str) -> None:
    command = [sys.executable, "-m", "tests.stores.killed", str(memory_path), durability, script]
    kills = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    assert kills > 30
    for turn in range(kills):
        store = FileStore(memory_path / str(turn), durability=durability)
        for upload_id, told in last_words(memory_path / f"{turn}.told").items():
            info = found(store, upload_id)
            if told == "ending":
                assert_nothing_rises(store, upload_id, info)
            else:
                assert info is not None
                assert info.offset >= int(told)
                start = PREFIXES.get(upload_id, 0)
                source = SOURCE[start : start + (info.length or 0)]
                assert content(store, info) == source[: info.offset]
                resume_and_compare(store, info, source)


def last_words(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(" ") for line in lines)


def assert_nothing_rises(store: FileStore, upload_id: str, info: UploadInfo | None) -> None:
    """Either it is whole, or a sweep finds what is left and removes it."""
    if info is not None:
        assert info.state is State.COMPLETE
        assert content(store, info) == SOURCE[: info.length]
        return
    for due in store.expired(NOW + timedelta(days=2)):
        store.terminate(replace(due, expires=None))
    assert not list(store.expired(NOW + timedelta(days=2)))
    assert not (Path(store.directory) / PLACES[upload_id]).exists()
