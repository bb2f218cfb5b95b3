"""What docs/rufh.md shows is run as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.interop.rufh import DraftClient
from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess
from tests.servers.running import ROOT
from tests.servers.wire import WireAnswer

PAGE = (ROOT / "docs" / "rufh.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
START, CURL = (text for language, text in BLOCKS if language == "console")
(PROGRAM,) = (text for language, text in BLOCKS if language == "python")


def test_every_block_is_run_here() -> None:
    assert [language for language, _ in BLOCKS] == ["console", "console", "python"]


@pytest.mark.needs("bash", "curl")
def test_curl_uploads_with_a_draft(tmp_path: Path) -> None:
    program, *flags = shlex.split(START)
    assert program == "tuspy-server"
    with Served(tmp_path / "data", *flags) as served:
        script = CURL.replace("http://localhost:8080/files/", served.url)
        ran = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        answers = ran.stdout.lower()
        assert "upload-offset: 12" in answers, ran
        assert "upload-complete: ?0" in answers
        assert answers.endswith("201\n")
        assert "104" in _statuses(DraftClient(served.address[1], 9), "/files")


def test_the_app_gives_the_final_answer(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PROGRAM)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "--port", str(port), "main:app"]
    running = ServerProcess(command, port, environ={"PYTHONPATH": str(ROOT)})
    try:
        running.wait_until_accepting()
        client = DraftClient(port, 9)
        upload = client.create(b"hello")
        for answer in (client.append(upload, 5, last=True), client.append(upload, 5, last=True)):
            assert (answer.status, answer.body, client.says_complete(answer)) == (200, b"5 bytes", True)
    finally:
        running.stop()


def _statuses(client: DraftClient, target: str) -> list[str]:
    wire = client.begin("POST", target, client.last(True), 100_000)
    found: list[WireAnswer] = [wire.receive()]
    wire.send(bytes(100_000))
    while found[-1].status < 200:
        found.append(wire.receive())
    wire.finish()
    return [str(answer.status) for answer in found]
