"""The rules of Google Cloud Storage that fake-gcs-server does not keep.

It keeps `ifGenerationMatch` on uploads, the limit of 32 components and 404s for names. It ignores preconditions on
downloads, metadata reads, compose and delete, and calls a missing compose source a 500. The rules here are asked
before a call is passed on, one mutating call at a time, so that a check and the call it is for are one step.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.servers.proxy import Answer, Call, Forward


class GCSRules:
    """Checks each call by reading the object's metadata; see the module."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()

    def __call__(self, call: Call, forward: Forward) -> Answer:
        url = urlsplit(call.path)
        bucket, name, action = _target(url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if not name:
            if call.method == "POST":
                with self._one_at_a_time:
                    return forward(call)
            return forward(call)
        with self._one_at_a_time:
            refusal = self._refusal(call, forward, bucket, name, action, query)
            return refusal or _in_gcs_words(call, forward(call), bucket, name)

    def _refusal(
        self, call: Call, forward: Forward, bucket: str, name: str, action: str, query: Mapping[str, str]
    ) -> Answer | None:
        present = _generation(forward, bucket, name)
        if action == "compose":
            broken = _broken_sources(json.loads(call.body), forward, bucket)
            if broken is not None:
                return broken
        wanted = query.get("ifGenerationMatch")
        if wanted is None or (present is None and call.method in ("GET", "DELETE")):
            return None
        return None if wanted == (present or "0") else _error(412, "conditionNotMet", "Precondition Failed")


def _target(path: str) -> tuple[str, str, str]:
    """(bucket, object, action) of a path of the JSON API; object is "" for calls about no single one."""
    parts = path.removeprefix("/download").removeprefix("/upload").split("/")
    if parts[:4] != ["", "storage", "v1", "b"] or len(parts) < 7 or parts[5] != "o":
        return "", "", ""
    return unquote(parts[4]), unquote(parts[6]), "/".join(parts[7:])


def _generation(forward: Forward, bucket: str, name: str) -> str | None:
    path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
    answer = forward(Call("GET", path, {}, b""))
    return str(json.loads(answer.body)["generation"]) if answer.status == 200 else None


def _broken_sources(request: dict[str, Any], forward: Forward, bucket: str) -> Answer | None:
    sources = request.get("sourceObjects", [])
    if not 1 <= len(sources) <= 32:
        return _error(400, "invalid", "The number of source components must be between 1 and 32")
    for source in sources:
        present = _generation(forward, bucket, source["name"])
        if present is None:
            return _error(404, "notFound", f"No such object: {bucket}/{source['name']}")
        wanted = source.get("objectPreconditions", {}).get("ifGenerationMatch")
        if wanted is not None and str(wanted) != present:
            return _error(412, "conditionNotMet", "Precondition Failed")
    return None


def _in_gcs_words(call: Call, answer: Answer, bucket: str, name: str) -> Answer:
    if answer.status == 404 and call.path.startswith("/download"):
        return Answer(404, [("Content-Type", "text/html")], f"No such object: {bucket}/{name}".encode())
    return answer


def _error(status: int, reason: str, message: str) -> Answer:
    error = {"code": status, "message": message, "errors": [{"domain": "global", "reason": reason, "message": message}]}
    return Answer(status, [("Content-Type", "application/json")], json.dumps({"error": error}).encode())
