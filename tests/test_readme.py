"""What the README shows is run as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CONSOLE = [text for language, text in BLOCKS if language == "console"]
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
START, CURL = CONSOLE
COMMAND = "http://localhost:8080/files/"


def test_the_first_screen_starts_the_server_and_the_tests() -> None:
    assert START == "pip install '.[server]' && tuspy-server\npip install nox && nox\n"
    assert README.index(START) < 1000
    assert len(CURL.splitlines()) == 3


def test_every_block_is_run_here() -> None:
    assert {language for language, _ in BLOCKS} == {"console", "python"}
    assert (len(CONSOLE), len(PROGRAMS)) == (2, 3)


@pytest.mark.needs("bash", "curl")
def test_curl_uploads_to_the_command(tmp_path: Path) -> None:
    with Served(tmp_path / "data") as served:
        upload(CURL.replace(COMMAND, served.url), tmp_path)


@pytest.mark.needs("bash", "curl")
@pytest.mark.parametrize("program", PROGRAMS, ids=["fastapi", "flask", "hook"])
def test_the_programs_take_an_upload(program: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(program)
    port = free_port()
    command = [sys.executable, "-m", *_server(program, port, tmp_path), "main:app"]
    running = ServerProcess(command, port, environ={"PYTHONPATH": str(ROOT)})
    try:
        running.wait_until_accepting()
        upload(CURL.replace(COMMAND, f"http://127.0.0.1:{port}/files/"), tmp_path)
    finally:
        running.stop()


def test_an_app_is_five_lines() -> None:
    fastapi, flask, _ = PROGRAMS
    for program in (fastapi, flask):
        assert len(program.split("\n\n")) == 2
        assert len([line for line in program.splitlines() if line]) <= 5


def _server(program: str, port: int, place: Path) -> list[str]:
    """The module that serves main.py in `place`, and its arguments."""
    if "WSGIApp" not in program:
        return ["uvicorn", "--host", "127.0.0.1", "--port", str(port), "--app-dir", str(place)]
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    threads = ["--worker-class", "gthread", "--threads", "8"]
    return ["gunicorn", *threads, "--bind", f"127.0.0.1:{port}", "--chdir", str(place)]


def upload(script: str, place: Path) -> None:
    """Run the three lines of curl where photo.jpg is."""
    photo = bytes(range(256)) * 4096
    (place / "photo.jpg").write_bytes(photo)
    shell = shutil.which("bash") or "bash"
    subprocess.run([shell, "-eu", "-c", script], cwd=place, check=True, timeout=60)
    assert (place / "copy.jpg").read_bytes() == photo
