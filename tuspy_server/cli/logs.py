"""What the command writes to standard output: one line per event, for people (text) or machines (json).

Answers are logged by `AccessLog`, everything else by `logging`, where fields travel as `extra={"fields": {...}}`.
An upload's URL is a bearer secret: `redacted` shows enough of an id to find it in the store and too little to use it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["text", "json"]

SHOWN = 6
_ONE_WRITE = 4096  # bytes; more than that may mix with what another worker writes to the same pipe
_LONGEST_SHOWN = 16
_BARE = re.compile(r"[!#-<>-\[\]-~]+", re.ASCII)
_ALL_BARE = re.compile(r"(?: [a-z_]+=[!#-<>-\[\]-~]+)*", re.ASCII)  # one look at the usual line instead of one a value

request_id: ContextVar[str] = ContextVar("request_id", default="")


def configure(log_format: Format, *, verbose: bool = False) -> None:
    """Write the package's log, and warnings of everything else, to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("tuspy_server").setLevel(logging.DEBUG if verbose else logging.INFO)


def redacted(path: str, base_path: str) -> str:
    """A path without what would give access: ids below the base path, and whatever looks like one elsewhere."""
    base = base_path.rstrip("/") + "/"
    if path.startswith(base):
        return base + "/".join(cut(segment) for segment in path[len(base) :].split("/"))
    return "/".join(cut(segment, _LONGEST_SHOWN) for segment in path.split("/"))


def cut(segment: str, longest: int = SHOWN) -> str:
    """An id as it may be logged."""
    return segment if len(segment) <= longest else segment[:SHOWN] + "..."


class AccessLog:
    """One line per answer, without the detour of a record through `logging`, which costs half as much as the upload.

    Lines are gathered for one turn of the event loop: `soon` gets `flush` to call then, and a burst of answers is
    one write. What cannot be written is lost: a full disk or a closed pipe ends no upload.
    """

    def __init__(self, log_format: Format, soon: Callable[[Callable[[], None]], object]) -> None:
        self._line = json_line if log_format == "json" else text_line
        self._soon = soon
        self._lines: list[str] = []
        self._size = 0

    def write(self, level: str, fields: Mapping[str, object]) -> None:
        line = self._line(time.time(), level, "request", _with_request_id(fields))
        if not self._lines:
            self._soon(self.flush)
        elif self._size + len(line) >= _ONE_WRITE:
            self.flush()
        self._lines.append(line)
        self._size += len(line) + 1

    def flush(self) -> None:
        """Write what was gathered; nothing if nothing was."""
        lines, self._lines, self._size = self._lines, [], 0
        if lines:
            with suppress(OSError, ValueError):
                sys.stdout.write("\n".join([*lines, ""]))
                sys.stdout.flush()


class TextFormatter(logging.Formatter):
    """`TIME LEVEL message key=value ...`; values that hold more than plain characters are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        line = text_line(record.created, record.levelname, record.getMessage(), _fields(record))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, msg and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        trouble = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        return json_line(record.created, record.levelname, record.getMessage(), {**_fields(record), **trouble})


def text_line(when: float, level: str, message: str, fields: Mapping[str, object]) -> str:
    """`when` in seconds since 1970."""
    values = "".join([f" {key}={value}" for key, value in fields.items()])
    if not _ALL_BARE.fullmatch(values):
        values = "".join([f" {key}={_quoted(value)}" for key, value in fields.items()])
    return f"{_time(when)} {level} {_escaped(message)}{values}"


def json_line(when: float, level: str, message: str, fields: Mapping[str, object]) -> str:
    """`when` in seconds since 1970."""
    return json.dumps({"time": _time(when), "level": level, "msg": message, **fields}, default=str)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    return _with_request_id(getattr(record, "fields", {}))


def _with_request_id(fields: Mapping[str, object]) -> Mapping[str, object]:
    known = request_id.get()
    return {**fields, "request_id": known} if known else fields


def _time(when: float) -> str:
    second = int(when)
    return f"{_second(second)}.{int((when - second) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _quoted(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _escaped(text: str) -> str:
    """A message on one line, whatever a client put into it."""
    return text if text.isprintable() else json.dumps(text)[1:-1]
