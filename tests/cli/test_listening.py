"""Where the command can be reached, and how it says that it is there."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import stat
import sys
from pathlib import Path

import pytest

from tests.cli.command import TUS, Served, run
from tests.servers.certificates import certificate as make_certificate

posix = pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("up.example", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


@posix
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_takes_the_place_of_host_and_port(tmp_path: Path, workers: str) -> None:
    path = tmp_path / "tus.sock"
    arguments = ["--unix-sock", str(path), "--behind-proxy", "--workers", workers]
    with Served(tmp_path / "data", *arguments) as served:
        assert served.url == f"unix:{path}:/files/"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        client = UnixConnection(path)
        client.request("POST", "/files/", headers={**TUS, "Upload-Length": "0", "X-Forwarded-Proto": "https"})
        response = client.getresponse()
        assert response.status == 201
        assert response.headers["Location"].startswith("https://up.example/files/")
        client.close()
        served.signal()
        assert served.wait() == 0
    assert not path.exists()


@posix
def test_a_socket_left_behind_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "tus.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with Served(tmp_path / "data", "--unix-sock", str(path)) as served:
        served.signal(signal.SIGTERM)
        assert served.wait() == 0
    path.write_text("precious")
    done = run("--unix-sock", str(path), "--upload-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert done.stderr == f"tuspy-server: cannot listen at {path}: what is there is not a socket\n"
    assert path.read_text() == "precious"


def test_every_address_of_a_name_is_listened_at(tmp_path: Path) -> None:
    with Served(tmp_path, host="localhost") as served:
        for _, _, _, _, address in socket.getaddrinfo("localhost", served.address[1], type=socket.SOCK_STREAM):
            socket.create_connection((str(address[0]), served.address[1]), 30).close()


def test_an_ipv6_address_is_written_in_brackets(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Served(tmp_path, host="::1") as served:
        assert served.url == f"http://[::1]:{served.address[1]}/files/"
        assert served.request("GET", "/")[0] == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    for file, content in zip(("cert.pem", "key.pem"), make_certificate(), strict=True):
        (folder / file).write_bytes(content)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("mode", "newest", "cipher"),
    [
        ("tls12", "TLSv1.3", None),
        ("tls13", "TLSv1.3", None),
        ("tls12-strong", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ],
)
def test_tls_is_spoken_in_the_chosen_mode(
    tmp_path: Path, certificate: tuple[Path, Path], mode: str, newest: str, cipher: str | None
) -> None:
    cert, key = map(str, certificate)
    with Served(tmp_path, "--tls-certificate", cert, "--tls-key", key, "--tls-mode", mode, host="localhost") as served:
        assert served.url.startswith("https://localhost:")
        context = ssl.create_default_context(cafile=cert)
        client = http.client.HTTPSConnection("localhost", served.address[1], context=context, timeout=30)
        client.request("POST", "/files/", headers={**TUS, "Upload-Length": "0"})
        response = client.getresponse()
        assert response.status == 201
        assert response.headers["Location"].startswith(served.url)
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == newest
        assert cipher in (None, (client.sock.cipher() or ("",))[0])
        client.close()
        assert _speaks(served, cert, ssl.TLSVersion.TLSv1_2) is (mode != "tls13")


def test_a_key_that_does_not_fit_gets_one_sentence_and_code_1(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, _ = certificate
    done = run("--tls-certificate", str(cert), "--tls-key", str(cert), "--upload-dir", str(tmp_path), "--port", "0")
    assert done.returncode == 1
    assert done.stderr.startswith(f"tuspy-server: cannot use {cert} with {cert}: ")
    assert done.stderr.count("\n") == 1


def _speaks(served: Served, cert: str, version: ssl.TLSVersion) -> bool:
    context = ssl.create_default_context(cafile=cert)
    context.maximum_version = version
    try:
        with served.connect() as plain, context.wrap_socket(plain, server_hostname="localhost"):
            return True
    except (ssl.SSLError, ConnectionError):
        return False


def test_the_health_page_says_that_it_serves_and_is_not_logged(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        assert served.request("GET", "/healthz")[::2] == (200, b"ok\n")
        assert served.request("HEAD", "/healthz")[0] == 200
        served.request("GET", "/last")
        served.wait_for("path=/last")
        assert "healthz" not in "\n".join(served.lines)
    with Served(tmp_path, "--health-path", "/alive", "--verbose") as served:
        assert served.request("GET", "/healthz")[0] == 404
        assert served.request("GET", "/alive")[0] == 200
        served.wait_for("DEBUG request .*path=/alive")


@posix
def test_hooks_are_told_by_executables_and_by_a_plugin_at_once(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "post-finish").write_text(f'#!/bin/sh\necho "executable $TUS_SIZE" > {tmp_path}/told\n')
    (hooks / "post-finish").chmod(0o755)
    (tmp_path / "our_plugin.py").write_text(
        "from tuspy_server import HookEvent, RejectUpload\n"
        "class Plugin:\n"
        "    def pre_create(self, event: HookEvent) -> None:\n"
        "        if event.upload.length == 13: raise RejectUpload('unlucky', status=418)\n"
    )
    arguments = ["--hooks-dir", str(hooks), "--hooks-plugin", "our_plugin:Plugin"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with Served(tmp_path / "data", *arguments, environment={"PYTHONPATH": path}) as served:
        served.wait_for("telling .*hooks, our_plugin:Plugin")
        assert served.request("POST", served.url, {**TUS, "Upload-Length": "13"})[0] == 418
        served.upload(b"hello")
        served.signal()
        assert served.wait() == 0
    assert (tmp_path / "told").read_text() == "executable 5\n"
