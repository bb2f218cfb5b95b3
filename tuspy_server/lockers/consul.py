"""Leased locks on Consul, through its HTTP API: no client library is needed."""

from __future__ import annotations

import math
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.json_http import Answer, JsonHttp
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout, now

_WAIT = 10.0
_SHORTEST_LEASE = 10.0  # Consul takes no session with a shorter TTL


class ConsulLocker(LeasedLocker):
    """Locks shared by all servers that use one Consul datacenter.

    `addresses` are the HTTP addresses of agents; the first that answers is used. All locks of a process hang on
    one session without health checks and without lock delay, so that renewing them is one call however many
    there are; when it is lost, all are. Consul may take twice the lease to free what a dead process held.
    Release requests go through one key per process that it watches. Tokens are Consul's raft indexes.
    """

    listening_limit = 0.0  # a watch waits for long, and closes its connection when it ends

    def __init__(
        self,
        addresses: str | Sequence[str] = "http://127.0.0.1:8500",
        *,
        token: str | None = None,
        lease: float = 10.0,
        retry_interval: float = 0.05,
        prefix: str = "tus/",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if lease < _SHORTEST_LEASE:
            raise ValueError(f"lease is seconds and must be at least {_SHORTEST_LEASE:.0f} with Consul")
        http = JsonHttp(
            [addresses] if isinstance(addresses, str) else addresses,
            timeout=network_timeout(lease),
            headers={} if token is None else {"X-Consul-Token": token},
            ssl_context=ssl_context,
        )
        super().__init__(_ConsulService(http, prefix), lease=lease, retry_interval=retry_interval)


class _SessionGone(Exception):
    """Consul does not know the session any more."""


class _Session:
    """The Consul session of this process, and when it was last renewed."""

    def __init__(self, number: str, since: float) -> None:
        self.number = number
        self.since = since


class _ConsulService:
    _session: _Session | None
    _sessions: dict[str, _Session]
    _index: int

    def __init__(self, http: JsonHttp, prefix: str) -> None:
        self._http = http
        self._prefix = prefix
        self.forget()

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        process = owner.partition("-")[0]
        try:
            return self._lock(upload_id, owner, self._live_session(process, lease))
        except _SessionGone:
            pass
        try:
            return self._lock(upload_id, owner, self._new_session(process, lease))
        except _SessionGone as exc:
            raise LockerUnavailable from exc

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        sessions = {owner: session for owner in held if (session := self._sessions.get(owner))}
        alive = {session: self._renew(session) for session in set(sessions.values())}
        return {owner: owner in sessions and alive[sessions[owner]] for owner in held}

    def release(self, upload_id: str, owner: str, /) -> None:
        found = self._find(self._lock_key(upload_id))
        if found is not None and _text(found) == owner:
            self._transact({"Verb": "delete-cas", "Key": found["Key"], "Index": found["ModifyIndex"]})
        self._sessions.pop(owner, None)

    def request(self, upload_id: str, /) -> None:
        found = self._find(self._lock_key(upload_id))
        if found is None:
            return
        # The key hangs on the holder's session; `get` fails where it is gone, so that nothing is left behind.
        key = self._wish_key(_text(found).partition("-")[0])
        self._transact({"Verb": "get", "Key": key}, {"Verb": "set", "Key": key, "Value": found["Value"]})

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        target = f"/v1/kv/{self._wish_key(process)}?index={self._index}&wait={_WAIT:.0f}s"
        answer = self._http.call("GET", target, timeout=_WAIT * 1.5)
        index = int(answer.headers.get("X-Consul-Index", 0))
        self._index = index if index >= self._index else 0
        return [_text(found) for found in answer.body or ()] if answer.status == 200 else []

    def forget(self) -> None:
        self._mutex = threading.Lock()
        self._session = None
        self._sessions = {}
        self._index = 0
        self._http.forget()

    def _lock(self, upload_id: str, owner: str, session: _Session) -> Grant | None:
        key = self._lock_key(upload_id)
        lock = {"Verb": "lock", "Key": key, "Value": _encoded(owner), "Session": session.number}
        answer = self._transact({"Verb": "check-not-exists", "Key": key}, lock)
        if answer.status == 200:
            index = answer.body["Results"][-1]["KV"]["ModifyIndex"]
        elif any("invalid session" in error["What"] for error in answer.body["Errors"]):
            raise _SessionGone
        else:
            found = self._find(key)
            if found is None or _text(found) != owner:
                return None
            index = found["ModifyIndex"]
        self._sessions[owner] = session
        return Grant(int(index), session.since)

    def _live_session(self, process: str, lease: float) -> _Session:
        session = self._session
        if session is None:
            return self._new_session(process, lease)
        if now() - session.since > lease / 2 and not self._renew(session):
            raise _SessionGone
        return session

    def _new_session(self, process: str, lease: float) -> _Session:
        """A session that holds the key for wishes, made by one thread for all."""
        gone = self._session
        with self._mutex:
            if self._session is not None and self._session is not gone:
                return self._session
            since = now()
            wanted = {
                "Name": "tuspy-server",
                "TTL": f"{math.ceil(lease)}s",
                "LockDelay": "0s",
                "Behavior": "delete",
                "NodeChecks": [],
            }
            number = self._answer("PUT", "/v1/session/create", wanted).body["ID"]
            wishes = {"Verb": "lock", "Key": self._wish_key(process), "Value": "", "Session": number}
            self._transact({"Verb": "delete", "Key": wishes["Key"]}, wishes)
            self._session = _Session(number, since)
            return self._session

    def _renew(self, session: _Session) -> bool:
        since = now()
        answer = self._http.call("PUT", f"/v1/session/renew/{session.number}")
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise LockerUnavailable(f"Consul answered {answer.status}")
        session.since = max(session.since, since)
        return True

    def _find(self, key: str) -> Any:
        """The key as the leader has it, None if there is none."""
        answer = self._http.call("GET", f"/v1/kv/{key}?consistent")
        if answer.status not in (200, 404):
            raise LockerUnavailable(f"Consul answered {answer.status}")
        return answer.body[0] if answer.status == 200 else None

    def _transact(self, *operations: Mapping[str, object]) -> Answer:
        """All or nothing: status 200, or 409 with errors."""
        return self._answer("PUT", "/v1/txn", [{"KV": operation} for operation in operations], also=409)

    def _answer(self, method: str, target: str, body: object, *, also: int = 200) -> Answer:
        answer = self._http.call(method, target, body)
        if answer.status not in (200, also):
            raise LockerUnavailable(f"Consul answered {answer.status}")
        return answer

    def _lock_key(self, upload_id: str) -> str:
        return f"{self._prefix}lock/{lock_name(upload_id)}"

    def _wish_key(self, process: str) -> str:
        return f"{self._prefix}wish/{process}"


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def _text(found: Any) -> str:
    return b64decode(found["Value"] or "").decode()
