"""What watches an app: metrics, traces, queues. An app that nobody watches pays one comparison with None."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from tuspy_server.errors import TusError
    from tuspy_server.models import HookEvent, Request, Response

Part: TypeAlias = Literal["store", "lock", "hook"]


class Answered(Protocol):
    """Takes the answer of a request that was observed; `error` is what it ends with, if it is a refusal."""

    def __call__(self, response: Response, error: TusError | None, /) -> None: ...


class Observer:
    """Told of everything; does nothing with it. Methods are called from any thread, return at once, raise nothing."""

    def request(self, request: Request, *, has_body: bool) -> AbstractContextManager[Answered]:
        """Around the work on one request, without the sending of its answer."""
        return nullcontext(_unheard)

    def step(self, part: Part, operation: str) -> AbstractContextManager[object]:
        """Around one call of a store's, a locker's or a hook's member; `wait` is waiting for a lock."""
        return nullcontext()

    def received(self, size: int) -> None:
        """So many bytes of a body were handed to the store."""

    def handed_over(self) -> None:
        """A request was asked to let go of its upload for another."""

    def happened(self, event: HookEvent) -> None:
        """`post_create`, `post_receive`, `post_finish` (parts of a concatenation too) or `post_terminate`."""


def _unheard(response: Response, error: TusError | None, /) -> None:
    pass


class Observers(Observer):
    """Several as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    @contextmanager
    def request(self, request: Request, *, has_body: bool) -> Iterator[Answered]:
        with ExitStack() as stack:
            each = [stack.enter_context(observer.request(request, has_body=has_body)) for observer in self._observers]

            def answered(response: Response, error: TusError | None, /) -> None:
                for tell in each:
                    tell(response, error)

            yield answered

    @contextmanager
    def step(self, part: Part, operation: str) -> Iterator[None]:
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.step(part, operation))
            yield

    def received(self, size: int) -> None:
        for observer in self._observers:
            observer.received(size)

    def handed_over(self) -> None:
        for observer in self._observers:
            observer.handed_over()

    def happened(self, event: HookEvent) -> None:
        for observer in self._observers:
            observer.happened(event)


def joined(*observers: Observer | None) -> Observer | None:
    """One observer for all that are there; None for none."""
    present = [observer for observer in observers if observer is not None]
    return Observers(present) if len(present) > 1 else next(iter(present), None)
