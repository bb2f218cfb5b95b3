"""Leased locks on etcd (3.4 or newer), through its JSON gateway: no client library is needed."""

from __future__ import annotations

import math
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.json_http import JsonHttp
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout, now

_WATCH_TIMEOUT = 20.0
_LEASE_NOT_FOUND = 5  # gRPC NOT_FOUND


class EtcdLocker(LeasedLocker):
    """Locks shared by all servers that use one etcd.

    `addresses` are the client URLs of its members; the first that answers is used. All locks of a process hang
    on one etcd lease, so that renewing them is one call however many there are; when it is lost, all are.
    Release requests go through one key per process that it watches. Tokens are etcd's revisions.
    """

    listening_limit = 0.0  # a watch waits for long, and closes its connection when it ends

    def __init__(
        self,
        addresses: str | Sequence[str] = "http://127.0.0.1:2379",
        *,
        lease: float = 10.0,
        retry_interval: float = 0.05,
        prefix: str = "tus/",
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        http = JsonHttp(
            [addresses] if isinstance(addresses, str) else addresses,
            timeout=network_timeout(lease),
            headers=headers,
            ssl_context=ssl_context,
        )
        super().__init__(_EtcdService(http, prefix), lease=lease, retry_interval=retry_interval)


class _LeaseGone(Exception):
    """etcd does not know the lease any more."""


class _Session:
    """The etcd lease of this process, and when it was last granted."""

    def __init__(self, number: str, since: float) -> None:
        self.number = number
        self.since = since


class _EtcdService:
    _session: _Session | None
    _sessions: dict[str, _Session]
    _watch: Iterator[Any] | None

    def __init__(self, http: JsonHttp, prefix: str) -> None:
        self._http = http
        self._prefix = prefix
        self.forget()

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        process = owner.partition("-")[0]
        try:
            return self._put_lock(upload_id, owner, self._live_session(process, lease))
        except _LeaseGone:
            return self._put_lock(upload_id, owner, self._new_session(process, lease))

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        sessions = {owner: session for owner in held if (session := self._sessions.get(owner))}
        alive = {session: self._keep_alive(session) for session in set(sessions.values())}
        return {owner: owner in sessions and alive[sessions[owner]] for owner in held}

    def release(self, upload_id: str, owner: str, /) -> None:
        key = self._lock_key(upload_id)
        self._post(
            "kv/txn",
            {
                "compare": [{"key": key, "target": "VALUE", "result": "EQUAL", "value": _encoded(owner)}],
                "success": [{"request_delete_range": {"key": key}}],
            },
        )
        self._sessions.pop(owner, None)

    def request(self, upload_id: str, /) -> None:
        owner = self._holder(self._post("kv/range", {"key": self._lock_key(upload_id)}))
        if owner is None:
            return
        key = self._wish_key(owner.partition("-")[0])
        # The key hangs on the holder's lease and must neither lose it nor outlive it.
        wish = {"request_put": {"key": key, "value": _encoded(owner), "ignore_lease": True}}
        self._post(
            "kv/txn",
            {
                "compare": [{"key": key, "target": "CREATE", "result": "GREATER", "create_revision": "0"}],
                "success": [wish],
            },
        )

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        if self._watch is None:
            watch = {"create_request": {"key": self._wish_key(process), "filters": ["NODELETE"]}}
            self._watch = self._http.stream("/v3/watch", watch, timeout=_WATCH_TIMEOUT)
        try:
            line = next(self._watch, None)
        except LockerUnavailable:
            self._watch = None
            raise
        if line is None or "error" in line or line["result"].get("canceled"):
            self._watch = None
            return []
        return [_decoded(event["kv"]["value"]) for event in line["result"].get("events", [])]

    def forget(self) -> None:
        self._mutex = threading.Lock()
        self._session = None
        self._sessions = {}
        self._watch = None
        self._http.forget()

    def _put_lock(self, upload_id: str, owner: str, session: _Session) -> Grant | None:
        key = self._lock_key(upload_id)
        put = {"request_put": {"key": key, "value": _encoded(owner), "lease": session.number}}
        answer = self._post(
            "kv/txn",
            {
                "compare": [{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
                "success": [put],
                "failure": [{"request_range": {"key": key}}],
            },
        )
        if not answer.get("succeeded"):
            found = answer["responses"][0]["response_range"]
            if self._holder(found) != owner:
                return None
            token = int(found["kvs"][0]["create_revision"])
        else:
            token = int(answer["header"]["revision"])
        self._sessions[owner] = session
        return Grant(token, session.since)

    def _live_session(self, process: str, lease: float) -> _Session:
        session = self._session
        if session is None:
            return self._new_session(process, lease)
        if now() - session.since > lease / 2 and not self._keep_alive(session):
            raise _LeaseGone
        return session

    def _new_session(self, process: str, lease: float) -> _Session:
        """A lease with the key for wishes on it, made by one thread for all."""
        gone = self._session
        with self._mutex:
            if self._session is not None and self._session is not gone:
                return self._session
            since = now()
            number = self._post("lease/grant", {"TTL": math.ceil(lease)})["ID"]
            self._post("kv/put", {"key": self._wish_key(process), "value": "", "lease": number})
            self._session = _Session(number, since)
            return self._session

    def _keep_alive(self, session: _Session) -> bool:
        since = now()
        if int(self._post("lease/keepalive", {"ID": session.number})["result"].get("TTL", 0)) <= 0:
            return False
        session.since = max(session.since, since)
        return True

    def _post(self, call: str, body: object) -> Any:
        answer = self._http.call("POST", f"/v3/{call}", body)
        if answer.status == 200:
            return answer.body
        problem = answer.body or {}
        if problem.get("code") == _LEASE_NOT_FOUND:
            raise _LeaseGone
        raise LockerUnavailable(f"etcd answered {answer.status}: {problem.get('message')}")

    def _lock_key(self, upload_id: str) -> str:
        return _encoded(f"{self._prefix}lock/{lock_name(upload_id)}")

    def _wish_key(self, process: str) -> str:
        return _encoded(f"{self._prefix}wish/{process}")

    @staticmethod
    def _holder(found: Any) -> str | None:
        kvs = found.get("kvs")
        return _decoded(kvs[0]["value"]) if kvs else None


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return b64decode(text).decode()
