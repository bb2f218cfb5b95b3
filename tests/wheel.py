"""Install a wheel into a fresh environment, import it, run its command and upload a file to it.

python tests/wheel.py dist/tuspy_server-1.0-py3-none-any.whl
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

_FIELDS = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", "Content-Type": "application/offset+octet-stream"}
_SHIPPED = ("py.typed", "hooks/hook.proto", "testing/__init__.py")


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        programs = Path(place, "Scripts" if os.name == "nt" else "bin")
        _install(programs, f"{wheel.resolve()}")
        _import(programs)
        _install(programs, f"{wheel.resolve()}[server]")
        _upload(programs / "tuspy-server", Path(place, "data"))
    print(f"{wheel.name}: imported, served, uploaded")


def _install(programs: Path, what: str) -> None:
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", what]
    subprocess.run([programs / "python", *pip], check=True, cwd=programs)


def _import(programs: Path) -> None:
    """Without an extra: every public name is there, and so are the files that are no modules."""
    probe = (
        "import pathlib, tuspy_server; [getattr(tuspy_server, name) for name in tuspy_server.__all__]; "
        f"assert all((pathlib.Path(tuspy_server.__file__).parent / name).exists() for name in {_SHIPPED})"
    )
    subprocess.run([programs / "python", "-W", "error", "-c", probe], check=True, cwd=programs)


def _upload(command: Path, directory: Path) -> None:
    arguments = ["--host", "127.0.0.1", "--port", "0", "--upload-dir", str(directory)]
    served = subprocess.Popen([command, *arguments], stdout=subprocess.PIPE, text=True, cwd=command.parent)
    assert served.stdout is not None
    try:
        url = next(found[1] for line in served.stdout if (found := re.search(r"listening on (\S+)", line)))
        location = _request("POST", url, _FIELDS, b"hello")[0]
        assert _request("GET", location, {}, b"")[1] == b"hello"
    finally:
        served.terminate()
        served.communicate(timeout=30)
    assert served.returncode == 0, served.returncode


def _request(method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
    parts = urlsplit(url)
    client = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    client.request(method, parts.path, body or None, headers)
    response = client.getresponse()
    content = response.read()
    client.close()
    assert response.status in (200, 201), (response.status, content)
    return response.headers.get("Location", ""), content


if __name__ == "__main__":
    main(Path(sys.argv[1]))
