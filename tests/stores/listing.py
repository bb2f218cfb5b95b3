"""What `uploads` promises of every store that has it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.auditing import Lister


def assert_lists_every_upload(store: Any) -> None:
    """An open one with its offset, one with no byte, a complete one, and a tombstone; `store` is empty before."""
    assert issubclass(type(store), Lister)
    now = datetime.now(UTC)
    for upload_id, sent in (("open", b"abc"), ("empty", b""), ("whole", b"abcdef"), ("gone", b"abc")):
        info = store.create(UploadInfo(id=upload_id, length=6, created=now))
        if sent:
            writer = store.open(info, fence=None)
            writer.write([sent])
            writer.close()
        if upload_id == "whole":
            info = store.get(upload_id)
            store.finish(info)
            store.update(replace(info, state=State.COMPLETE))
    store.terminate(replace(store.get("gone"), state=State.GONE, expires=now + timedelta(days=1)))
    listed = {info.id: (info.state, info.offset) for info in store.uploads()}
    assert listed.pop("gone")[0] is State.GONE
    assert listed == {"open": (State.OPEN, 3), "empty": (State.OPEN, 0), "whole": (State.COMPLETE, 6)}
