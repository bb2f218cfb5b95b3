"""An app's answer laid over ours."""

from __future__ import annotations

from dataclasses import replace

from tuspy_server.models import Response, StoredResponse

_BODYLESS = frozenset([204, 205, 304])
_FRAMING = frozenset(["content-length", "transfer-encoding", "connection"])


def merge(ours: Response, given: Response | StoredResponse | None) -> Response:
    """The app's status, body and fields where it gave them, ours elsewhere; framing stays the server's.

    An answer whose status cannot carry a body loses it: a 204 with content would desynchronise the connection.
    """
    if given is None:
        return ours
    named = {name.lower() for name, _ in given.headers}
    kept = tuple((name, value) for name, value in ours.headers if name.lower() not in named)
    added = tuple((name, value) for name, value in given.headers if name.lower() not in _FRAMING)
    body = b"" if given.status in _BODYLESS or given.status < 200 else given.body
    return replace(ours, status=given.status, headers=kept + added, body=body)
