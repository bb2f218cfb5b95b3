"""Other tus servers in Python, as factories for uvicorn, run by BENCH_PEERS_PYTHON: they want their own versions."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any


def tuspyserver() -> Any:
    fastapi = import_module("fastapi")
    app = fastapi.FastAPI()
    router = import_module("tuspyserver").create_tus_router(prefix="files", files_dir=_directory())
    app.include_router(router)
    return app


def fastapi_tusd() -> Any:
    fastapi = import_module("fastapi")
    app = fastapi.FastAPI()
    location = f"http://127.0.0.1:{os.environ['BENCH_PORT']}/files"
    app.include_router(
        import_module("fastapi_tusd").TusRouter(store_dir=_directory(), location=location), prefix="/files"
    )
    return app


def tussi() -> Any:
    module = import_module("tussi")
    done = Path(_directory(), "done")
    done.mkdir(exist_ok=True)
    storage = module.FilesystemStorage(_directory(), fsync=False)
    tus = module.TUSApp(storage=storage, completed_dir=done, max_chunk_size=None)
    return import_module("starlette.applications").Starlette(
        routes=[import_module("starlette.routing").Mount("/files", app=tus)]
    )


def resumable_upload() -> Any:
    module = import_module("resumable_upload")
    storage = module.SQLiteStorage(db_path=f"{_directory()}/uploads.db", upload_dir=_directory())
    server = module.TusServer(storage=storage, base_path="/files")
    return import_module("resumable_upload.asgi").TusASGIApp(server)


def _directory() -> str:
    return os.environ["BENCH_DIRECTORY"]
