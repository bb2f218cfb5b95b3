"""Puts an observer around the members and the requests of an app that has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec

from tuspy_server.callers import Caller, Lane
from tuspy_server.engine import Begun, Body, Engine, Reply
from tuspy_server.engine.exchange import Interim
from tuspy_server.models import HookEvent
from tuspy_server.observability.observer import Observer, Part
from tuspy_server.runtime import Runtime

P = ParamSpec("P")

STORE_OPERATIONS = frozenset(
    [
        "create",
        "get",
        "update",
        "open",
        "stage",
        "write",
        "move",
        "flush",
        "close",
        "discard",
        "finish",
        "terminate",
        "concat",
        "declare_length",
        "expired",
        "read",
        "redirect",
        "drop",
    ]
)
LOCK_OPERATIONS = frozenset(["try_lock", "request_release", "release"])
_NAMES = {
    "_hash_and_write": "write",
    "_move": "move",
    "_next_hashed": "read",
    "_next_async": "read",
    "_listed": "expired",
    "list": "expired",
    "aclose": "drop",
}


class ObservedCaller:
    """Calls members as another caller does, each as a step of the observer."""

    def __init__(self, caller: Caller, observer: Observer) -> None:
        self._caller = caller
        self._observer = observer

    @property
    def may_wait(self) -> bool:
        return self._caller.may_wait

    async def call(self, lane: Lane, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Any:
        part, operation = _named(lane, function, args)
        with self._observer.step(part, operation):
            result = await self._caller.call(lane, function, *args, **kwargs)
        if operation == "write":
            batch: Any = args[0] if len(args) == 1 else args[1]
            self._observer.received(sum(map(len, batch)))
        elif operation == "move":
            self._observer.received(result)
        return result

    async def call_within(self, seconds: float, function: Callable[..., object], *args: object) -> Any:
        with self._observer.step(*_named(Lane.HOOK, function, args)):
            return await self._caller.call_within(seconds, function, *args)

    async def sleep(self, seconds: float) -> None:
        await self._caller.sleep(seconds)


def _named(lane: Lane, function: Callable[..., object], args: tuple[object, ...]) -> tuple[Part, str]:
    if lane is Lane.HOOK:
        return "hook", next((arg.type for arg in args if isinstance(arg, HookEvent)), "callable")
    name = getattr(function, "__name__", "")
    name = _NAMES.get(name, name)
    if name in LOCK_OPERATIONS:
        return "lock", name
    return "store", name if name in STORE_OPERATIONS else "other"


class ObservedEngine(Engine):
    """An engine whose requests are observed. One that is redone, since its lock was contended, counts once."""

    async def carry_out(self, begun: Begun, body: Body, runtime: Runtime, interim: Interim | None = None) -> Reply:
        observer = runtime.observer
        assert observer is not None
        request, has_body = begun.call.request, begun.call.content.present
        with observer.request(request, has_body=has_body) as answered:
            reply = await super().carry_out(begun, body, runtime, interim)
            answered(reply.response, reply.error)
        return reply


def observed_runtime(runtime: Runtime, observer: Observer) -> Runtime:
    """A runtime like that one whose members are watched."""
    return Runtime(runtime.composer, ObservedCaller(runtime.caller, observer), runtime.clock, observer)
