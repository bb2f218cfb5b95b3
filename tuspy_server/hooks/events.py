"""The Hooks object: callables in process, `def` or `async def`, one or several for each event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from tuspy_server.models import HookEvent, HookResult, Request, Response

Hook: TypeAlias = Callable[[HookEvent], HookResult | Awaitable[HookResult | None] | None]
ErrorHook: TypeAlias = Callable[[Exception, Request], Response | Awaitable[Response | None] | None]
OneOrMore: TypeAlias = Hook | Iterable[Hook] | None

C = TypeVar("C", bound=Callable[..., Any])

HOOK_TYPES = (
    "pre_access",
    "pre_create",
    "post_create",
    "post_receive",
    "pre_finish",
    "post_finish",
    "pre_terminate",
    "post_terminate",
)


class Hooks:
    """What an app wants to be told, and to decide.

    `pre_*` hooks may refuse by raising RejectUpload and change things by returning a HookResult; several run in
    order, later results win field by field. `post_*` hooks inform: what they raise is logged and changes
    nothing. `post_receive` may raise StopUpload. `on_error` sees every exception with its request and may
    return the answer. Join two objects with `|`.
    """

    def __init__(
        self,
        *,
        pre_access: OneOrMore = None,
        pre_create: OneOrMore = None,
        post_create: OneOrMore = None,
        post_receive: OneOrMore = None,
        pre_finish: OneOrMore = None,
        post_finish: OneOrMore = None,
        pre_terminate: OneOrMore = None,
        post_terminate: OneOrMore = None,
        on_error: ErrorHook | Iterable[ErrorHook] | None = None,
    ) -> None:
        given = (
            pre_access,
            pre_create,
            post_create,
            post_receive,
            pre_finish,
            post_finish,
            pre_terminate,
            post_terminate,
        )
        self._hooks: dict[str, tuple[Hook, ...]] = {
            name: _several(hook) for name, hook in zip(HOOK_TYPES, given, strict=True)
        }
        self.on_error: tuple[ErrorHook, ...] = _several(on_error)

    def of(self, hook_type: str) -> tuple[Hook, ...]:
        """The callables of one event, in the order they run."""
        return self._hooks[hook_type]

    def __or__(self, other: Hooks) -> Hooks:
        joined = Hooks(on_error=(*self.on_error, *other.on_error))
        joined._hooks = {name: (*self.of(name), *other.of(name)) for name in HOOK_TYPES}
        return joined

    def __bool__(self) -> bool:
        return any(self._hooks.values()) or bool(self.on_error)


def _several(given: C | Iterable[C] | None) -> tuple[C, ...]:
    if given is None:
        return ()
    if callable(given):
        return (given,)
    return tuple(given)
