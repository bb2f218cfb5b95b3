"""What the values of flags look like."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import Any, ClassVar, Generic, NoReturn, TypeVar, cast

import click

from tuspy_server.hooks.payload import parse_events

T = TypeVar("T")

_UNITS = {
    "": 1,
    "b": 1,
    **{name.lower(): 1000**power for power, name in enumerate(("kB", "MB", "GB", "TB"), 1)},
    **{name.lower(): 1024**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_PLAIN_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
PRIVATE = "private"
LOCK_SERVICES = (
    "redis://",
    "rediss://",
    "unix://",
    "etcd://",
    "consul://",
    "postgresql://",
    "postgres://",
    "dynamodb://",
)
_PATH = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@-]*", re.ASCII)


class Kind(click.ParamType, Generic[T]):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A value written as text. `read` raises ValueError with what is wrong."""

    wanted: ClassVar[str]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if not isinstance(value, str):
            return cast(T, value)  # a default, which is of the type already
        try:
            return self.read(value.strip())
        except ValueError:
            self._refuse(value, param, ctx)

    def read(self, text: str) -> T:
        raise NotImplementedError

    def show(self, value: T) -> str:
        """A default as people write it."""
        return str(value)

    def _refuse(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        self.fail(f"{str(value)!r} is not {self.wanted}", param, ctx)


class Size(Kind[int]):
    """Bytes, with or without a unit: 1048576, 100MB, 5GiB."""

    name = "size"
    wanted = "a size such as 1048576, 500MB or 5GiB"

    def read(self, text: str) -> int:
        found = _SIZE.fullmatch(text)
        if found is None or found[2].lower() not in _UNITS:
            raise ValueError(text)
        size = Decimal(found[1]) * _UNITS[found[2].lower()]
        if size != int(size):
            raise ValueError(text)
        return int(size)

    def show(self, value: int) -> str:
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % _UNITS[unit.lower()] == 0:
                return f"{value // _UNITS[unit.lower()]}{unit}"
        return str(value)


class Duration(Kind[float]):
    """Seconds, written with units: 500ms, 60s, 1h30m, 7d; a plain number is seconds."""

    name = "duration"
    wanted = "a duration such as 500ms, 60s, 1h30m or 7d"

    def read(self, text: str) -> float:
        if _PLAIN_SECONDS.fullmatch(text):
            return float(text)
        spans = _SPAN.findall(text)
        if not spans or "".join(number + unit for number, unit in spans) != text:
            raise ValueError(text)
        return float(sum(float(number) * _SECONDS[unit] for number, unit in spans))

    def show(self, value: float) -> str:
        for unit in ("d", "h", "m"):
            if value and value % _SECONDS[unit] == 0:
                return f"{value / _SECONDS[unit]:g}{unit}"
        return f"{value:g}s"


class Mode(Kind[int]):
    """Permission bits, octal."""

    name = "mode"
    wanted = "an octal file mode such as 664"

    def read(self, text: str) -> int:
        mode = int(text, 8)
        if not 0 <= mode <= 0o7777:
            raise ValueError(text)
        return mode

    def show(self, value: int) -> str:
        return f"{value:o}"


class BasePath(Kind[str]):
    """The URL path of the collection. A missing slash in front or behind is added."""

    name = "url path"
    wanted = "a URL path such as /files/"

    def read(self, text: str) -> str:
        segments = text.strip("/").split("/")
        if not _PATH.fullmatch(text) or "://" in text or "." in segments or ".." in segments:
            raise ValueError(text)
        path = text.strip("/")
        return f"/{path}/" if path else "/"


class Path(Kind[str]):
    """A path in the file system."""

    name = "path"
    wanted = "a path"

    def read(self, text: str) -> str:
        if "\0" in text:
            raise ValueError(text)
        return text


class Networks(Kind[tuple[str, ...]]):
    """Addresses and networks, separated by commas; "private" is this host and private networks, "*" everybody."""

    name = "networks"
    wanted = 'a list of addresses and networks such as 10.0.0.0/8,192.0.2.7, or "*"'

    def read(self, text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        for name in names:
            if name not in ("*", PRIVATE):
                ipaddress.ip_network(name, strict=False)
        return names


class NameList(Kind[tuple[str, ...]]):
    """Names, separated by commas."""

    name = "list"
    wanted = "a list of names separated by commas"

    def read(self, text: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in text.split(",") if name.strip())

    def show(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


class EventList(NameList):
    """Hook events by tusd's names, separated by commas."""

    name = "events"
    wanted = "a list of events such as pre-create,post-finish"

    def read(self, text: str) -> tuple[str, ...]:
        names = super().read(text)
        parse_events(names)
        return names


class Locker(Kind[str]):
    """A locker: a word, or the URL of a service."""

    name = "locker"
    wanted = f"auto, memory, or a URL that starts with one of {', '.join(LOCK_SERVICES)}"

    def read(self, text: str) -> str:
        if text not in ("auto", "memory") and not text.startswith(LOCK_SERVICES):
            raise ValueError(text)
        return text


class Pattern(Kind[str]):
    """A regular expression."""

    name = "origin"
    wanted = "an origin or a regular expression"

    def read(self, text: str) -> str:
        try:
            re.compile(text)
        except re.error as exc:
            raise ValueError(text) from exc
        return text


SIZE = Size()
DURATION = Duration()
MODE = Mode()
BASE_PATH = BasePath()
NETWORKS = Networks()
PATTERN = Pattern()
PATH = Path()
LIST = NameList()
EVENTS = EventList()
LOCKER = Locker()
