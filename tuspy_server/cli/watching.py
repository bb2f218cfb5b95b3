"""Lines for programs, tables and progress for people: rich where it is installed and a terminal watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def say(line: str) -> None:
    """A line of standard output; characters it cannot show are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def watched(what: str, items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """The same items, with a bar on standard error while a person watches it, and nothing otherwise."""
    if not sys.stderr.isatty():
        yield from items
        return
    try:
        from rich.console import Console
        from rich.progress import track
    except ModuleNotFoundError:
        yield from items
        return
    console = Console(stderr=True)
    yield from track(items, what, total=total, console=console, transient=True)


class Table:
    """Columns under headings. Lines are kept until `show`: the widest value decides."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._rows: list[Sequence[str]] = [headings]

    def add(self, *row: str) -> None:
        self._rows.append([value if value.isprintable() else ascii(value)[1:-1] for value in row])

    def show(self) -> None:
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        for row in self._rows:
            say("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
