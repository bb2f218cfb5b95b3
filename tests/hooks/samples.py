"""Events as the engine makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tuspy_server.models import HookEvent, Request, UploadInfo

UPLOAD = UploadInfo(
    id="24e533e02ec3bc40c387f1a0e460e216",
    length=11,
    offset=4,
    metadata={"filename": "naïve.txt", "flag": ""},
    raw_metadata="filename bmHDr3ZlLnR4dA==,flag",
    storage={"path": "24e533e02ec3bc40c387f1a0e460e216"},
    created=datetime(2030, 1, 2, tzinfo=UTC),
    principal="alice",
)

REQUEST = Request(
    method="PATCH",
    url="https://files.example/up/24e533e02ec3bc40c387f1a0e460e216?x=1",
    path="/up/24e533e02ec3bc40c387f1a0e460e216",
    headers=(
        ("host", "files.example"),
        ("tus-resumable", "1.0.0"),
        ("x-http-method-override", "PATCH"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-name", "na\u00c3\u00afve"),
    ),
    client="203.0.113.7",
    peer="192.0.2.1",
    native={"client": ("192.0.2.1", 40123)},
    principal="alice",
)


def event(
    hook: str = "post_finish", upload: UploadInfo = UPLOAD, request: Request = REQUEST, **changes: Any
) -> HookEvent:
    """One event; `changes` are applied to the upload."""
    upload = replace(upload, **changes)
    return HookEvent(type=hook, upload=upload, request=request, delivery_id=f"{upload.id[:8]}-{hook}")


def named(metadata: Mapping[str, str], hook: str = "pre_create") -> HookEvent:
    """A creation with this metadata."""
    return event(hook, metadata=metadata, offset=0, storage={})
