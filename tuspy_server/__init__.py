"""Resumable uploads (tus 1.0.0) for any WSGI or ASGI app.

    app = ASGIApp(FileStore("uploads"))

Importing this package imports no SDK, no server and no event loop backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuspy_server.composer import AUTO, Composer
from tuspy_server.config import Config, Cors
from tuspy_server.errors import RejectUpload, StopUpload, TusError
from tuspy_server.hooks.events import Hooks
from tuspy_server.models import (
    HookEvent,
    HookResult,
    Kind,
    Limits,
    Request,
    Response,
    State,
    UploadInfo,
)

if TYPE_CHECKING:
    from tuspy_server.asgi import ASGIApp
    from tuspy_server.lockers.file import FileLocker
    from tuspy_server.lockers.memory import MemoryLocker
    from tuspy_server.stores.file import FileStore
    from tuspy_server.stores.memory import MemoryStore
    from tuspy_server.wsgi import WSGIApp

__version__ = "0.1.0"

_LAZY = {
    "ASGIApp": "tuspy_server.asgi",
    "FileLocker": "tuspy_server.lockers.file",
    "FileStore": "tuspy_server.stores.file",
    "MemoryLocker": "tuspy_server.lockers.memory",
    "MemoryStore": "tuspy_server.stores.memory",
    "WSGIApp": "tuspy_server.wsgi",
}

__all__ = [
    "AUTO",
    "ASGIApp",
    "Composer",
    "Config",
    "Cors",
    "FileLocker",
    "FileStore",
    "HookEvent",
    "HookResult",
    "Hooks",
    "Kind",
    "Limits",
    "MemoryLocker",
    "MemoryStore",
    "RejectUpload",
    "Request",
    "Response",
    "State",
    "StopUpload",
    "TusError",
    "UploadInfo",
    "WSGIApp",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
