"""Leased locks on Redis: one server, Sentinel or Cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, cast
from zlib import crc32

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError, RedisClusterException, RedisError
from redis.retry import Retry

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout

RedisClient: TypeAlias = "Redis | RedisCluster"

# Keys of one slot share a hash tag, so that a script may touch lock and counter on a cluster. The counters
# stay: an expired one could hand a token out again after the server's clock was set back.
_SLOTS = 256

_LISTEN_TIMEOUT = 1.0
_TROUBLE = (RedisError, RedisClusterException, OSError)

# The owner may have it already: a client repeats a command whose answer it did not get. The wall clock is the
# floor of the token, so that it grows on although a server that keeps nothing forgets the counter.
_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local token = redis.call('INCR', KEYS[2])
local floor = time[1] * 1000 + math.floor(time[2] / 1000)
if token < floor then
    token = floor
    redis.call('SET', KEYS[2], string.format('%.0f', token))
end
return string.format('%.0f', token)
"""
_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
_REQUEST = """
local holder = redis.call('GET', KEYS[1])
return holder and redis.call('PUBLISH', ARGV[1] .. string.match(holder, '^[^-]*'), holder) or 0
"""


class RedisLocker(LeasedLocker):
    """Locks shared by all servers that use one Redis (5 or newer).

    `redis` is a URL (redis://, rediss://, unix://) or a client: `redis.Redis`, one made by Sentinel's
    `master_for`, or `redis.RedisCluster`. Give a client of your own a `socket_timeout` well below the lease.
    Release requests go by pub/sub to the holder's process alone, on the channel `<prefix>wishes:<process>`.

    Tokens: the larger of a counter plus one and the server's wall clock in milliseconds. A Redis that forgets
    (restart without persistence, failover to a replica that is behind) may give a held lock to somebody else;
    the first holder learns of it within a second, and the token lets a store tell the two apart.
    """

    def __init__(
        self,
        redis: str | RedisClient = "redis://localhost:6379/0",
        *,
        lease: float = 10.0,
        retry_interval: float = 0.05,
        prefix: str = "tus:",
    ) -> None:
        client = _client_for(redis, lease) if isinstance(redis, str) else redis
        if not isinstance(client, Redis | RedisCluster):
            raise TypeError("RedisLocker takes a URL or a blocking client: redis.Redis or redis.RedisCluster")
        super().__init__(_RedisService(client, prefix), lease=lease, retry_interval=retry_interval)
        self._own_client = client if isinstance(redis, str) else None

    def close(self) -> None:
        super().close()
        if self._own_client is not None:
            self._own_client.close()


def _client_for(url: str, lease: float) -> Redis:
    """A client that gives up early enough for another attempt before a lease ends. A pooled connection may have died
    with a restart of the server, so a broken one is tried again; a timeout is not, or it would double."""
    timeout = network_timeout(lease)
    retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
    return Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry)


class _RedisService:
    """The scripts above, with the errors of the client translated."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._pubsub: Any = None
        self._channel = ""

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        lock, counter = self._keys(upload_id)
        token = self._call(lambda: self._client.eval(_ACQUIRE, 2, lock, counter, owner, _milliseconds(lease)))
        return None if token is None else Grant(int(cast("bytes", token)))

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        calls = [(self._keys(upload_id)[0], owner) for owner, upload_id in held.items()]
        if isinstance(self._client, RedisCluster):
            return self._renew_one_by_one(calls, lease)
        pipeline = self._client.pipeline(transaction=False)
        for key, owner in calls:
            pipeline.eval(_RENEW, 1, key, owner, _milliseconds(lease))
        answers = cast("list[int]", self._call(pipeline.execute))
        return dict(zip(held, map(bool, answers), strict=True))

    def _renew_one_by_one(self, calls: list[tuple[str, str]], lease: float) -> dict[str, bool]:
        """On a cluster one node may be down while the others answer."""
        answers: dict[str, bool] = {}
        failure: LockerUnavailable | None = None
        for key, owner in calls:
            try:
                answers[owner] = bool(
                    self._call(partial(self._client.eval, _RENEW, 1, key, owner, _milliseconds(lease)))
                )
            except LockerUnavailable as exc:
                failure = exc
        if failure is not None and not answers:
            raise failure
        return answers

    def _renew_one(self, key: str, owner: str, lease: float) -> object:
        return self._client.eval(_RENEW, 1, key, owner, _milliseconds(lease))

    def release(self, upload_id: str, owner: str, /) -> None:
        self._call(lambda: self._client.eval(_RELEASE, 1, self._keys(upload_id)[0], owner))

    def request(self, upload_id: str, /) -> None:
        self._call(lambda: self._client.eval(_REQUEST, 1, self._keys(upload_id)[0], f"{self._prefix}wishes:"))

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        try:
            return list(self._messages(f"{self._prefix}wishes:{process}"))
        except _TROUBLE as exc:
            self.forget()
            raise LockerUnavailable from exc

    def _messages(self, channel: str) -> Iterable[str]:
        if self._pubsub is None or self._channel != channel:
            self.forget()
            self._pubsub = cast("Any", self._client).pubsub(ignore_subscribe_messages=True)
            self._pubsub.subscribe(channel)
            self._channel = channel
        message = self._pubsub.get_message(timeout=_LISTEN_TIMEOUT)
        while message is not None:
            data = message["data"]
            yield data.decode() if isinstance(data, bytes) else data
            message = self._pubsub.get_message(timeout=0)

    def forget(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with suppress(*_TROUBLE):
                pubsub.close()

    def _keys(self, upload_id: str) -> tuple[str, str]:
        name = lock_name(upload_id)
        slot = f"{self._prefix}{{{crc32(name.encode()) % _SLOTS}}}:"
        return f"{slot}lock:{name}", f"{slot}token"

    @staticmethod
    def _call(command: Callable[[], object]) -> object:
        try:
            return command()
        except _TROUBLE as exc:
            raise LockerUnavailable from exc


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
