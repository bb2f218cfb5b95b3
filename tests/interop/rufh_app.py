"""The app behind the uploads of the RUFH tests, configured by one JSON environment variable.

What an upload is answered at its end is chosen by the metadata `answer` of its creation; every end is noted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tuspy_server import (
    ASGIApp,
    Composer,
    Config,
    FileStore,
    HookEvent,
    HookResult,
    Hooks,
    RejectUpload,
    Request,
    Response,
    WSGIApp,
)

SETTINGS = "TUSPY_TEST_RUFH"
PHOTO = Response(
    status=200, headers=(("Content-Type", "application/json"), ("X-Photo", "7")), body=b'{"photo": 7}'
)  # what /photos would answer
LARGE = Response(status=200, headers=(("X-Photo", "8"),), body=b"x" * 100_000)  # more than is kept


def user_of(request: Request) -> str | None:
    return request.header("x-user")


def _made(app: type[ASGIApp] | type[WSGIApp]) -> Any:
    settings = json.loads(os.environ[SETTINGS])
    directory = Path(settings.pop("directory"))

    def answer(event: HookEvent) -> HookResult | None:
        with (directory.parent / "ends").open("a") as file:
            file.write(f"{event.upload.id}\n")
        wanted = event.upload.metadata.get("answer")
        if wanted == "refuse":
            raise RejectUpload("not a photo", status=422, body=b"not a photo")
        answers = {"photo": PHOTO, "large": LARGE}
        return HookResult(response=answers[wanted]) if wanted in answers else None

    composer = Composer(FileStore(directory), **settings.pop("composer", {}))
    config = Config(base_path="/files", principal=user_of, **settings)
    return app(composer, config, hooks=Hooks(pre_finish=answer))


def asgi() -> ASGIApp:
    app: ASGIApp = _made(ASGIApp)
    return app


def wsgi() -> WSGIApp:
    app: WSGIApp = _made(WSGIApp)
    return app
