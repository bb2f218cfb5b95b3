"""What every system of metrics is told: counts and times, taken where things happen. How they are kept is its own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tuspy_server.errors import TusError
from tuspy_server.models import Request, Response
from tuspy_server.observability.observer import Answered, Observer, Part

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
QUICK_TO_SLOW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUEST_SECONDS = (*QUICK_TO_SLOW, 300.0, 3600.0)
HAPPENED = {"post_create": "created", "post_finish": "finished", "post_terminate": "terminated"}


class Measuring(Observer, ABC):
    """Takes the time of requests and steps."""

    @abstractmethod
    def changed(self, change: int, *, has_body: bool) -> None:
        """One request more (1) or less (-1) is under way."""

    @abstractmethod
    def answered(self, method: str, seconds: float, response: Response, error: TusError | None) -> None:
        """A request was answered; `method` is one of METHODS or "other"."""

    @abstractmethod
    def stepped(self, part: Part, operation: str, seconds: float, *, failed: bool) -> None:
        """A call of a member has ended."""

    @contextmanager
    def request(self, request: Request, *, has_body: bool) -> Iterator[Answered]:
        method = request.method if request.method in METHODS else "other"
        started, answers = time.perf_counter(), []

        def answered(response: Response, error: TusError | None, /) -> None:
            answers.append((response, error))

        self.changed(1, has_body=has_body)
        try:
            yield answered
        finally:
            self.changed(-1, has_body=has_body)
            for response, error in answers:  # none, if the request is to be redone or was cancelled
                self.answered(method, time.perf_counter() - started, response, error)

    def step(self, part: Part, operation: str) -> _Step:
        return _Step(self, part, operation)


class _Step:
    """A call of a member, timed. A class, since a generator costs three times as much and each request has several."""

    __slots__ = ("_measuring", "_operation", "_part", "_started")

    def __init__(self, measuring: Measuring, part: Part, operation: str) -> None:
        self._measuring = measuring
        self._part: Part = part
        self._operation = operation

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        self._measuring.stepped(self._part, self._operation, seconds, failed=kind is not None)
