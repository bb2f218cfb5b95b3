"""The apps that the real servers of the tests run, configured by one JSON environment variable."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuspy_server import ASGIApp, Composer, Config, FileStore, HookEvent, Hooks, Request, WSGIApp
from tuspy_server.interfaces import Writer
from tuspy_server.models import UploadInfo

SETTINGS = "TUSPY_TEST_APP"


class StuckStore(FileStore):
    """Its writes wait while the file `stuck` exists in the directory."""

    def open(self, info: UploadInfo, /, *, fence: int | None) -> Any:
        return _StuckWriter(super().open(info, fence=fence), Path(os.environ["TUSPY_TEST_STUCK"]))


class _StuckWriter:
    def __init__(self, writer: Any, stuck: Path) -> None:
        self._writer: Writer = writer
        self._stuck = stuck

    def write(self, chunks: Sequence[bytes], /) -> Any:
        while self._stuck.exists():
            time.sleep(0.02)
        return self._writer.write(chunks)

    def close(self) -> Any:
        return self._writer.close()


def _chosen_id(request: Request) -> str:
    """The id that a client of the tests asks for, else one that nobody guesses."""
    return request.header("x-test-id") or secrets.token_hex(16)


def _composer() -> tuple[Composer, Config, Hooks]:
    settings = json.loads(os.environ[SETTINGS])
    store_type = StuckStore if "TUSPY_TEST_STUCK" in os.environ else FileStore
    store = store_type(settings.pop("directory"), durability=settings.pop("durability", "none"))
    events = settings.pop("events", None)
    if settings.pop("chosen_ids", False):
        settings["new_id"] = _chosen_id

    def note(event: HookEvent) -> None:
        with Path(events).open("a") as file:
            file.write(f"{event.type} {event.upload.id} {event.delivery_id}\n")

    hooks = Hooks(post_finish=note) if events else Hooks()
    return Composer(store), Config(base_path="/files", **settings), hooks


def asgi() -> ASGIApp:
    composer, config, hooks = _composer()
    return ASGIApp(composer, config, hooks=hooks)


def wsgi() -> WSGIApp:
    composer, config, hooks = _composer()
    return WSGIApp(composer, config, hooks=hooks)
