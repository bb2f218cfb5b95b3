"""What both apps offer to those who watch: observers given at the start, queues opened at any time."""

from __future__ import annotations

from collections.abc import Sequence

from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine import Engine
from tuspy_server.hooks.events import Hooks
from tuspy_server.observability.observer import Observer, joined
from tuspy_server.observability.queues import MAXSIZE, EventQueue, Queues
from tuspy_server.observability.wrapping import ObservedEngine, observed_runtime
from tuspy_server.runtime import Runtime


class Watched:
    """Base of the apps."""

    def _watch(self, composer: Composer, config: Config, hooks: Hooks | None, observers: Sequence[Observer]) -> None:
        self._observer = joined(*observers)
        self._queues: Queues | None = None
        self._runtimes: list[Runtime] = []
        make_engine = Engine if self._observer is None else ObservedEngine
        self.engine = make_engine(composer, config, hooks or Hooks())

    def _observed(self, runtime: Runtime) -> Runtime:
        found = runtime if self._observer is None else observed_runtime(runtime, self._observer)
        self._runtimes.append(found)
        return found

    def created(self, maxsize: int = MAXSIZE) -> EventQueue:
        """Uploads created by this process from now on; the newest `maxsize` if nobody takes them."""
        return self._open("post_create", maxsize)

    def progress(self, maxsize: int = MAXSIZE) -> EventQueue:
        """Uploads that receive bytes in this process, at most once per `Config.post_receive_interval` and request."""
        return self._open("post_receive", maxsize)

    def finished(self, maxsize: int = MAXSIZE) -> EventQueue:
        """Uploads finished by this process from now on, parts of a concatenation apart. Lost with the process: what
        must not be is a matter of the hook `post_finish`."""
        return self._open("post_finish", maxsize)

    def terminated(self, maxsize: int = MAXSIZE) -> EventQueue:
        """Uploads removed by this process from now on, for whatever reason."""
        return self._open("post_terminate", maxsize)

    def _open(self, hook_type: str, maxsize: int) -> EventQueue:
        if self._queues is None:
            self._queues = Queues()
            for runtime in self._runtimes:
                runtime.observer = joined(self._observer, self._queues)
        return self._queues.open(hook_type, maxsize)
