"""Google Cloud's permissions, modelled: no server that can be installed enforces them.

Which call needs which is by the reference of the JSON API: whatever puts an object where there is one needs to delete
as well, and composing needs to read what it composes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from urllib.parse import quote, unquote, urlsplit

from tests.servers.proxy import Answer, Call, Forward, Rules

#: The SDK asks for the bucket in the background, for its traces, and does without where that is refused.
BUCKET = "storage.buckets.get"
GET, LIST, CREATE, DELETE = (f"storage.objects.{name}" for name in ("get", "list", "create", "delete"))


class UnknownCall(AssertionError):
    """A call of which it is not known what it needs."""


class Allowed:
    """Answers 403 to calls that need more than `permissions`, hands others on to `rules`. `used` is what was needed."""

    def __init__(self, rules: Rules, permissions: Collection[str]) -> None:
        self._rules = rules
        self._permissions = frozenset(permissions)
        self.used: set[str] = set()
        self.unknown: list[str] = []

    def __call__(self, call: Call, forward: Forward) -> Answer:
        try:
            needed = needs(call, forward)
        except UnknownCall as exc:
            self.unknown.append(str(exc))
            return Answer(403)
        self.used |= needed
        if not needed <= self._permissions:
            error = {"code": 403, "message": f"{sorted(needed - self._permissions)} denied", "errors": []}
            return Answer(403, [("Content-Type", "application/json")], json.dumps({"error": error}).encode())
        return self._rules(call, forward)


def needs(call: Call, forward: Forward) -> set[str]:
    """The permissions of one call. Raises UnknownCall."""
    path = urlsplit(call.path).path
    kind = path.removeprefix("/").partition("/")[0]
    parts = path.removeprefix("/download").removeprefix("/upload").split("/")
    if (call.method, kind, parts[:4], len(parts)) == ("GET", "storage", ["", "storage", "v1", "b"], 5):
        return {BUCKET}
    if parts[:4] != ["", "storage", "v1", "b"] or parts[5:6] != ["o"]:
        raise UnknownCall(str(call))
    bucket, name, action = parts[4], unquote(parts[6]) if len(parts) > 6 else "", "/".join(parts[7:])
    match call.method, kind, bool(name), action:
        case "GET", "storage", False, "":
            return {LIST}
        case "GET", "storage" | "download", True, "":
            return {GET}
        case "DELETE", "storage", True, "":
            return {DELETE}
        case "POST", "upload", False, "":
            return {CREATE} | _replacing(forward, bucket, _uploaded(call))
        case "POST", "storage", True, "compose":
            return {CREATE, GET} | _replacing(forward, bucket, name)
    raise UnknownCall(str(call))


def _uploaded(call: Call) -> str:
    """The object that a multipart upload names in its first part."""
    described = call.body[call.body.index(b"{") :]
    name: str = json.JSONDecoder().raw_decode(described.decode("utf-8", "replace"))[0]["name"]
    return name


def _replacing(forward: Forward, bucket: str, name: str) -> set[str]:
    there = forward(Call("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}", {}, b"")).status == 200
    return {DELETE} if there else set()
