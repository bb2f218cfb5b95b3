"""A locker that sees one process only is refused where there are several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tuspy_server import Composer, FileLocker, FileStore, MemoryLocker, WSGIApp
from tuspy_server.errors import StoreFailed


def _ask(app: WSGIApp, **environ: Any) -> str:
    statuses: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], /) -> None:
        statuses.append(status)

    base = {"REQUEST_METHOD": "OPTIONS", "PATH_INFO": "/", "SERVER_NAME": "x", "SERVER_PORT": "1", "wsgi.input": None}
    answer: Iterable[bytes] = app({**base, **environ}, start_response)
    list(answer)
    return statuses[0]


def test_a_server_with_several_processes_is_refused_with_a_sentence(tmp_path: Path) -> None:
    app = WSGIApp(Composer(FileStore(tmp_path), MemoryLocker()))
    with pytest.raises(RuntimeError, match="use FileLocker"):
        _ask(app, **{"wsgi.multiprocess": True})


def test_several_processes_are_fine_with_a_locker_that_sees_them(tmp_path: Path) -> None:
    app = WSGIApp(Composer(FileStore(tmp_path), FileLocker(tmp_path)))
    assert _ask(app, **{"wsgi.multiprocess": True}) == "200 OK"


def _claim(directory: Path, claimed: Any, done: Any) -> None:
    Composer(FileStore(directory), MemoryLocker()).claim()
    claimed.set()
    done.wait(30)


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    claimed, done = context.Event(), context.Event()
    other = context.Process(target=_claim, args=(tmp_path, claimed, done))
    other.start()
    assert claimed.wait(30)
    composer = Composer(FileStore(tmp_path), MemoryLocker())
    with pytest.raises(StoreFailed, match="in use by another process"):
        composer.claim()
    done.set()
    other.join(30)
    composer.claim()
    composer.claim()
