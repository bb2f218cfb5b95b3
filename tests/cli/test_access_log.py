"""The log of answers: gathered for a turn of the loop, whole lines, and never the end of an upload."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import datetime

import pytest

from tuspy_server.cli.logs import AccessLog, request_id


class Output(io.StringIO):
    """Notes each write that was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.broken = False

    def flush(self) -> None:
        if self.broken:
            raise BrokenPipeError
        self.writes.append(self.getvalue())
        self.seek(0)
        self.truncate()


def test_the_answers_of_one_turn_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", output := Output())
    turn: list[Callable[[], None]] = []
    log = AccessLog("text", turn.append)
    for status in (201, 204):
        log.write("INFO", {"status": status, "path": "/files/a b"})
    assert (output.writes, len(turn)) == ([], 1)
    turn.pop()()
    (written,) = output.writes
    first, second = written.splitlines()
    assert first.endswith(' INFO request status=201 path="/files/a b"')
    assert second.endswith(' INFO request status=204 path="/files/a b"')
    log.write("INFO", {"status": 200})
    assert len(turn) == 1


def test_a_burst_is_cut_between_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", output := Output())
    log = AccessLog("json", lambda flush: None)
    for number in range(200):
        log.write("INFO", {"number": number})
    log.flush()
    assert all(len(written) <= 4096 and written.endswith("\n") for written in output.writes)
    lines = [json.loads(line) for written in output.writes for line in written.splitlines()]
    assert [line["number"] for line in lines] == list(range(200))
    assert all(datetime.fromisoformat(line["time"]) for line in lines)


def test_a_line_that_is_longer_than_a_write_is_not_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", output := Output())
    turn: list[Callable[[], None]] = []
    AccessLog("text", turn.append).write("INFO", {"path": "a" * 10_000})
    turn.pop()()
    assert len(output.writes) == 1


def test_a_request_id_goes_with_its_line_and_a_text_stays_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", output := Output())
    log = AccessLog("text", lambda flush: None)
    token = request_id.set("of-this-request")
    log.write("INFO", {"path": "/a\r\nb"})
    request_id.reset(token)
    log.flush()
    assert output.writes[0].endswith(' path="/a\\r\\nb" request_id=of-this-request\n')


def test_what_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", output := Output())
    output.broken = True
    log = AccessLog("text", lambda flush: None)
    log.write("INFO", {"status": 201})
    log.write("INFO", {"status": 204})
    log.flush()
    assert output.writes == []
