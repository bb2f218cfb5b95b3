"""What Azure Blob Storage does and Azurite does not: it refuses an empty block and a dot at the end of a path segment,
and keeps earlier versions of blobs in a versioned container.

Modelled of versioning: each write to a blob and its deletion make what was there an earlier version; answers about a
blob name its version; a listing that asks for versions has the earlier ones; one is deleted by its id alone.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from itertools import count
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.proxy import Answer, Call, Forward


@dataclass(frozen=True, slots=True)
class Version:
    """An earlier version of a blob."""

    name: str
    id: str
    size: int
    metadata: dict[str, str] = field(default_factory=dict)

    def as_xml(self) -> str:
        metadata = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in self.metadata.items())
        return (
            f"<Blob><Name>{escape(self.name)}</Name><VersionId>{self.id}</VersionId><Properties>"
            f"<Content-Length>{self.size}</Content-Length><Etag>0x{self.id}</Etag><BlobType>BlockBlob</BlobType></Properties>"
            f"<Metadata>{metadata}</Metadata></Blob>"
        )


class AzureRules:
    """Refuses and remembers; see the module. `versioned` names containers."""

    def __init__(self) -> None:
        self.versioned: set[str] = set()
        self._current: dict[tuple[str, str], Version] = {}
        self._earlier: dict[tuple[str, str], dict[str, Version]] = {}
        self._mutex = threading.Lock()
        self._ids = count(1)

    def versions(self, container: str) -> list[str]:
        """Names of all earlier versions there."""
        with self._mutex:
            return [name for (place, name), kept in self._earlier.items() if place == container for _ in kept]

    def __call__(self, call: Call, forward: Forward) -> Answer:
        url = urlsplit(call.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        _, _, container, *rest = url.path.split("/", 3)
        if call.method == "PUT" and query.get("comp") == "block" and not call.body:
            return _error(
                400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."
            )
        if rest and any(segment.endswith(".") for segment in unquote(rest[0]).split("/")):
            return _error(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        if container not in self.versioned:
            return forward(call)
        if not rest:
            return self._listed(container, query, forward(call))
        with self._mutex:
            return self._of_blob(call, forward, (container, unquote(rest[0])), query)

    def _of_blob(self, call: Call, forward: Forward, place: tuple[str, str], query: dict[str, str]) -> Answer:
        if "versionid" in query:
            assert call.method == "DELETE"
            found = self._earlier.get(place, {}).pop(query["versionid"], None)
            return Answer(202) if found else _error(404, "BlobNotFound", "The specified blob does not exist.")
        answer = forward(call)
        if answer.status >= 300:
            return answer
        if call.method == "DELETE":
            self._supersede(place)
        elif call.method == "PUT" and query.get("comp") in (None, "blocklist"):
            self._supersede(place)
            metadata = {k[10:]: v for k, v in call.headers.items() if k.lower().startswith("x-ms-meta-")}
            size = len(call.body) if "comp" not in query else 0
            self._current[place] = Version(place[1], f"v{next(self._ids)}", size, metadata)
        current = self._current.get(place)
        return replace(answer, headers=[*answer.headers, ("x-ms-version-id", current.id)]) if current else answer

    def _supersede(self, place: tuple[str, str]) -> None:
        before = self._current.pop(place, None)
        if before is not None:
            self._earlier.setdefault(place, {})[before.id] = before

    def _listed(self, container: str, query: dict[str, str], answer: Answer) -> Answer:
        if query.get("comp") != "list" or "versions" not in query.get("include", "") or answer.status != 200:
            return answer
        with self._mutex:
            found = [
                version.as_xml()
                for (place, name), kept in self._earlier.items()
                if place == container and name.startswith(query.get("prefix", ""))
                for version in kept.values()
            ]
        body = answer.body.decode()
        if "<Blobs/>" in body:
            body = body.replace("<Blobs/>", "<Blobs></Blobs>")
        return replace(answer, body=body.replace("</Blobs>", "".join(found) + "</Blobs>").encode())


def _error(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, [("Content-Type", "application/xml"), ("x-ms-error-code", code)], body.encode())
