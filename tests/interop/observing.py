"""Running scenarios on several servers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

from tests.interop.scenarios import SCENARIOS, observing

AT_ONCE = 3  # scenarios mostly wait: servers are observed side by side


class Observations:
    """What the servers do. Each is started once; its scenarios run one after another, those of others meanwhile."""

    def __init__(self, place: Path, wanted: Mapping[str, Sequence[str]]) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._place = place
        keys = [(name, title) for name, titles in wanted.items() for title in titles]
        self._found: dict[tuple[str, str], Future[str]] = {key: Future() for key in keys}
        self._runs = {name: self._pool.submit(self._observe, name, titles) for name, titles in wanted.items()}

    def of(self, name: str, title: str) -> str:
        """What the scenario returned; raises what it raised, or what kept the server from starting."""
        future = self._found[name, title]
        either: list[Future[Any]] = [future, self._runs[name]]
        wait(either, return_when=FIRST_COMPLETED)
        if not future.done():
            self._runs[name].result()
        return future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _observe(self, name: str, titles: Sequence[str]) -> None:
        with observing(name, self._place / name) as server:
            for title in titles:
                future = self._found[name, title]
                try:
                    future.set_result(SCENARIOS[title](server))
                except Exception as exc:
                    future.set_exception(exc)
