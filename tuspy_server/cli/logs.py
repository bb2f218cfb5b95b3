"""What the command writes to standard output: one line per event, for people (text) or machines (json).

Fields travel as `extra={"fields": {...}}`. An upload's URL is a bearer secret: `redacted` shows enough of an id to
find it in the store and too little to use it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

SHOWN = 6
_LONGEST_SHOWN = 16
_BARE = re.compile(r"[!#-<>-\[\]-~]+", re.ASCII)

request_id: ContextVar[str] = ContextVar("request_id", default="")


def configure(log_format: Literal["text", "json"], *, verbose: bool = False) -> None:
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


def _fields(record: logging.LogRecord) -> dict[str, object]:
    found: Mapping[str, object] = getattr(record, "fields", {})
    known = request_id.get()
    return {**found, **({"request_id": known} if known else {})}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`TIME LEVEL message key=value ...`; values that hold more than plain characters are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        values = "".join(f" {key}={_quoted(value)}" for key, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {_escaped(record.getMessage())}{values}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, msg and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _time(record), "level": record.levelname, "msg": record.getMessage(), **_fields(record)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _quoted(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _escaped(text: str) -> str:
    """A message on one line, whatever a client put into it."""
    return text if text.isprintable() else json.dumps(text)[1:-1]
