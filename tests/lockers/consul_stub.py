"""What ConsulLocker uses of Consul, after its published semantics of sessions and KV store, for machines without one.

    python -m tests.lockers.consul_stub PORT

Kept: sessions with a TTL that may last up to twice as long, and delete their keys when they end; transactions
(check-not-exists, lock, get, set, delete, delete-cas) that apply all or nothing; indexes that grow with every
write; blocking queries. All in memory: a restart forgets everything, where Consul's servers would not.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Session:
    ttl: float
    ends: float


@dataclass
class Key:
    value: str | None
    created: int
    modified: int
    session: str | None = None


class Refused(Exception):
    """An operation of a transaction failed."""


@dataclass
class Consul:
    index: int = 10
    keys: dict[str, Key] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def create_session(self, ttl: float) -> str:
        with self.changed:
            number = str(uuid.uuid4())
            self.sessions[number] = Session(ttl, time.monotonic() + 2 * ttl)
            return number

    def renew_session(self, number: str) -> bool:
        with self.changed:
            self._end_sessions()
            if number not in self.sessions:
                return False
            session = self.sessions[number]
            session.ends = time.monotonic() + 2 * session.ttl
            return True

    def find(self, name: str, index: int, wait: float) -> tuple[int, Key | None]:
        """The key, once it was modified after `index` or `wait` seconds are over."""
        deadline = time.monotonic() + wait
        with self.changed:
            while True:
                self._end_sessions()
                key = self.keys.get(name)
                seen = key.modified if key is not None else self.index
                left = deadline - time.monotonic()
                if seen > index or left <= 0:
                    return seen, key
                self.changed.wait(min(left, 0.2))

    def transact(self, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with self.changed:
            self._end_sessions()
            self.index += 1
            draft = dict(self.keys)
            results = [self._apply(draft, operation) for operation in operations]
            self.keys = draft
            self.changed.notify_all()
        return [result for result in results if result is not None]

    def _apply(self, draft: dict[str, Key], operation: dict[str, Any]) -> dict[str, Any] | None:
        name, key = operation["Key"], draft.get(operation["Key"])
        apply: Callable[[dict[str, Key], str, Key | None, dict[str, Any]], None] = {
            "check-not-exists": _check_not_exists,
            "lock": self._lock,
            "get": _get,
            "set": self._set,
            "delete": _delete,
            "delete-cas": _delete_cas,
        }[operation["Verb"]]
        apply(draft, name, key, operation)
        return None if name not in draft else {"KV": told(name, draft[name])}

    def _lock(self, draft: dict[str, Key], name: str, key: Key | None, operation: dict[str, Any]) -> None:
        session = operation["Session"]
        if session not in self.sessions:
            raise Refused(f'invalid session "{session}"')
        if key is not None and key.session not in (None, session):
            raise Refused(f"failed to lock key {name!r}, lock is already held")
        created = self.index if key is None else key.created
        draft[name] = Key(operation["Value"], created, self.index, session)

    def _set(self, draft: dict[str, Key], name: str, key: Key | None, operation: dict[str, Any]) -> None:
        created, session = (self.index, None) if key is None else (key.created, key.session)
        draft[name] = Key(operation["Value"], created, self.index, session)

    def _end_sessions(self) -> None:
        ended = {number for number, session in self.sessions.items() if session.ends <= time.monotonic()}
        for number in ended:
            del self.sessions[number]
        if ended:
            self.index += 1
            self.keys = {name: key for name, key in self.keys.items() if key.session not in ended}
            self.changed.notify_all()


def _check_not_exists(draft: dict[str, Key], name: str, key: Key | None, operation: dict[str, Any]) -> None:
    if key is not None:
        raise Refused(f"key {name!r} exists")


def _get(draft: dict[str, Key], name: str, key: Key | None, operation: dict[str, Any]) -> None:
    if key is None:
        raise Refused(f"key {name!r} doesn't exist")


def _delete(draft: dict[str, Key], name: str, key: Key | None, operation: dict[str, Any]) -> None:
    draft.pop(name, None)


def _delete_cas(draft: dict[str, Key], name: str, key: Key | None, operation: dict[str, Any]) -> None:
    if key is None or key.modified != operation["Index"]:
        raise Refused(f"failed to delete key {name!r}, index is stale")
    del draft[name]


def told(name: str, key: Key) -> dict[str, Any]:
    found = {"Key": name, "Value": key.value or None, "CreateIndex": key.created, "ModifyIndex": key.modified}
    return found if key.session is None else {**found, "Session": key.session}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    consul: Consul

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/v1/status/leader":
            return self._answer(200, "127.0.0.1:8300")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        name, wait = url.path.removeprefix("/v1/kv/"), float(query.get("wait", "0s").rstrip("s"))
        index, key = self.consul.find(name, int(query.get("index", 0)), wait)
        if key is None:
            return self._answer(404, None, index)
        return self._answer(200, [told(name, key)], index)

    def do_PUT(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body: Any = json.loads(text) if text else None
        if self.path == "/v1/session/create":
            return self._answer(200, {"ID": self.consul.create_session(float(body["TTL"].rstrip("s")))})
        if self.path == "/v1/txn":
            return self._transact(body)
        session = self.path.removeprefix("/v1/session/renew/")
        if self.consul.renew_session(session):
            return self._answer(200, [])
        return self._tell(404, f"Session id '{session}' not found".encode())

    def _transact(self, body: list[dict[str, Any]]) -> None:
        try:
            results = self.consul.transact([operation["KV"] for operation in body])
        except Refused as exc:
            return self._answer(409, {"Results": None, "Errors": [{"OpIndex": 0, "What": str(exc)}]})
        return self._answer(200, {"Results": results, "Errors": None})

    def _answer(self, status: int, body: object, index: int | None = None) -> None:
        self._tell(status, b"" if body is None else json.dumps(body).encode(), index)

    def _tell(self, status: int, text: bytes, index: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if index is not None:
            self.send_header("X-Consul-Index", str(index))
        self.end_headers()
        self.wfile.write(text)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(port: int) -> None:
    handler = type("BoundHandler", (Handler,), {"consul": Consul()})
    Server(("127.0.0.1", port), handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
