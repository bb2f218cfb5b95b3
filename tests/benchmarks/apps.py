"""The package's applications as the benchmarked servers import them; settings come from BENCH_ variables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, cast

from tuspy_server import ASGIApp, Composer, Config, FileLocker, FileStore, WSGIApp

if TYPE_CHECKING:
    Durability = Literal["none", "finish", "always"]


def _composer() -> Composer:
    directory = os.environ["BENCH_DIRECTORY"]
    durability = cast("Durability", os.environ.get("BENCH_DURABILITY", "none"))
    return Composer(FileStore(directory, durability=durability), locker=FileLocker(directory))


def _config() -> Config:
    return Config(base_path="/files/", kernel_moves=os.environ.get("BENCH_KERNEL_MOVES", "1") == "1")


def asgi() -> ASGIApp:
    """Factory of the ASGI application."""
    return ASGIApp(_composer(), _config())


def wsgi() -> WSGIApp:
    """Factory of the WSGI application."""
    return WSGIApp(_composer(), _config())
