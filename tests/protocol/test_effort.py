"""How long the work on a small request may take is known before it starts."""

from __future__ import annotations

import pytest

from tuspy_server.models import Kind
from tuspy_server.protocol.intents import Append, Content, Create, Describe, Intent, Terminate
from tuspy_server.protocol.rules import LARGEST_BRIEF, Effort, effort


def append(offset: int, *, complete: bool | None = None, size: int | None = 1) -> Append:
    return Append(id="a", protocol="p", offset=offset, content=Content(size=size), complete=complete)


@pytest.mark.parametrize(
    ("intent", "finishes", "expected"),
    [
        (None, True, Effort.BRIEF),
        (Describe(id="a"), True, Effort.BRIEF),
        (Create(protocol="p", length=5), True, Effort.BRIEF),
        (Create(protocol="p", length=None, kind=Kind.FINAL, parts=("a",)), False, Effort.COPYING),
        (Terminate(id="a"), False, Effort.LONG),
        (append(LARGEST_BRIEF - 1), True, Effort.BRIEF),
        (append(LARGEST_BRIEF), True, Effort.LONG),
        (append(LARGEST_BRIEF, size=None), True, Effort.BRIEF),
        (append(LARGEST_BRIEF + 1, size=None), True, Effort.LONG),
        (append(100 << 30), False, Effort.BRIEF),
        (append(100 << 30, complete=False), False, Effort.BRIEF),
        (append(100 << 30, complete=True), False, Effort.LONG),
        (append(0, complete=True), False, Effort.BRIEF),
    ],
)
def test_effort(intent: Intent | None, finishes: bool, expected: Effort) -> None:
    assert effort(intent, finishes=finishes) is expected
