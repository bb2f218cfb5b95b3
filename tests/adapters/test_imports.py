"""Nothing is imported while requests wait: a first import of anyio's back end takes a tenth of a second."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

SIZE = 1 << 20


async def upload(app: Any) -> int:
    """The status of a creation whose body comes in pieces."""
    fields = {"tus-resumable": "1.0.0", "upload-length": str(SIZE), "content-length": str(SIZE)}
    fields["content-type"] = "application/offset+octet-stream"
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/files/",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
    }
    pieces = [bytes(SIZE // 8)] * 8
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status"))

    await app(scope, receive, send)
    assert isinstance(statuses[0], int)
    return statuses[0]


def main(directory: str) -> None:
    """What a first large upload imports, on standard output."""
    from tuspy_server import ASGIApp, Config, FileStore

    app = ASGIApp(FileStore(directory), Config(base_path="/files/"))
    asyncio.run(asyncio.sleep(0))
    before = set(sys.modules)
    assert asyncio.run(upload(app)) == 201
    print(*(name for name in sys.modules if name not in before and name.startswith(("anyio", "tuspy_server"))))


def test_a_first_large_upload_imports_nothing(tmp_path: Path) -> None:
    program = f"from tests.adapters.test_imports import main; main({str(tmp_path)!r})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.split() == []
