"""Moves each file into a media folder when it is finished, under the name the client gave it.

uvicorn media_folder:app
"""

from __future__ import annotations

import shutil
from pathlib import Path

from werkzeug.utils import secure_filename

from tuspy_server import ASGIApp, Config, FileStore, HookEvent, Hooks

MEDIA = Path("media")
store = FileStore("uploads")


def move_to_media(event: HookEvent) -> None:
    """After a crash it is told again: then the file may have been moved already."""
    source = store.path(event.upload)
    name = secure_filename(event.upload.metadata.get("filename", "")) or "unnamed"
    folder = MEDIA / event.upload.id  # an upload overwrites no other's file
    folder.mkdir(parents=True, exist_ok=True)
    if source.exists():
        shutil.move(source, folder / name)


app = ASGIApp(store, Config(base_path="/files", download=False), hooks=Hooks(post_finish=move_to_media))
