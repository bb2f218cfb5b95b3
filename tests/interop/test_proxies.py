"""The configurations of docs/proxies, run by the real proxies with TLS in front of the real command.

Only addresses and names of files are changed: what a configuration says about bodies and fields is what is tested.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.command import APPEND, TUS, Served, wait_until
from tests.servers.certificates import certificate as make_certificate
from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess
from tests.servers.running import ROOT
from tuspy_server.cli import main

CONFIGURATIONS = ROOT / "docs" / "proxies"
SBIN = "/usr/sbin:/usr/local/sbin"
BODY = os.urandom(512 * 1024)
HALF = len(BODY) // 2

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such proxies")


@dataclass(frozen=True)
class Place:
    """What a configuration is made to fit."""

    directory: Path
    port: int
    upstream: int

    def text(self, name: str) -> str:
        """The file of docs/proxies with our upstream and our certificate."""
        text = (CONFIGURATIONS / name).read_text()
        for there, here in (
            ("127.0.0.1:8080", f"127.0.0.1:{self.upstream}"),
            ("/etc/ssl/files.example", str(self.directory)),
        ):
            assert there in text
            text = text.replace(there, here)
        return text

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)


def _swap(text: str, there: str, here: str) -> str:
    assert there in text
    return text.replace(there, here)


def _nginx(place: Place) -> list[str]:
    text = _swap(place.text("nginx.conf"), "listen 443 ssl", f"listen 127.0.0.1:{place.port} ssl")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    scratch = "".join(f"{kind}_temp_path {place.directory}/{kind};\n" for kind in kinds)
    text = _swap(text, "http {", "http {\naccess_log off;\n" + scratch)
    head = f"daemon off;\npid {place.directory}/nginx.pid;\n" + ("user root;\n" if os.geteuid() == 0 else "")
    return ["nginx", "-e", "stderr", "-p", str(place.directory), "-c", place.write("nginx.conf", head + text)]


def _apache(place: Place) -> list[str]:
    modules = Path("/usr/lib/apache2/modules")
    names = ("mpm_event", "authz_core", "ssl", "proxy", "proxy_http", "headers", "reqtimeout", "socache_shmcb")
    found = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names]
    own = [
        f"ServerRoot {place.directory}",
        f"DefaultRuntimeDir {place.directory}",
        f"PidFile {place.directory}/pid",
        "ErrorLog /dev/stderr",
        f"Listen 127.0.0.1:{place.port}",
        *(["User www-data", "Group www-data"] if os.geteuid() == 0 else []),
    ]
    text = _swap(place.text("apache.conf"), "*:443", f"127.0.0.1:{place.port}")
    return ["apache2", "-DFOREGROUND", "-f", place.write("apache.conf", "\n".join([*own, *found, text]))]


def _haproxy(place: Place) -> list[str]:
    text = _swap(place.text("haproxy.cfg"), "bind :443", f"bind 127.0.0.1:{place.port}")
    return ["haproxy", "-db", "-f", place.write("haproxy.cfg", text)]


def _caddy(place: Place) -> list[str]:
    text = _swap(place.text("Caddyfile"), "files.example {", f"https://localhost:{place.port} {{\n\tbind 127.0.0.1")
    text = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text
    return ["caddy", "run", "--adapter", "caddyfile", "--config", place.write("Caddyfile", text)]


PROXIES: dict[str, tuple[Callable[[Place], list[str]], bool]] = {  # how it is started, whether 104 answers pass
    "nginx": (_nginx, False),
    "apache2": (_apache, True),
    "haproxy": (_haproxy, True),
    "caddy": (_caddy, True),
}


@dataclass(frozen=True)
class Proxied:
    name: str
    url: str
    uploads: Path
    context: ssl.SSLContext

    def connect(self) -> ssl.SSLSocket:
        parts = urlsplit(self.url)
        plain = socket.create_connection(("127.0.0.1", parts.port or 0), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def ask(self, method: str, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        client = http.client.HTTPSConnection("localhost", parts.port, context=self.context, timeout=30)
        client.request(method, parts.path, headers=headers)
        response = client.getresponse()
        response.read()
        client.close()
        return response

    def create(self) -> str:
        response = self.ask("POST", self.url, {**TUS, "Upload-Length": str(len(BODY))})
        assert response.status == 201
        return response.headers["Location"]

    def begin(self, url: str) -> ssl.SSLSocket:
        """A PATCH of which half the body has been sent, and some of it has reached the store."""
        connection = self.connect()
        parts = urlsplit(url)
        fields = {"Host": parts.netloc, **APPEND, "Upload-Offset": "0", "Content-Length": str(len(BODY))}
        lines = [f"PATCH {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode() + BODY[:HALF])
        stored = self.uploads / parts.path.rpartition("/")[2]
        wait_until(lambda: stored.stat().st_size > 0)
        return connection


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate for localhost, as the configurations name its files."""
    folder = tmp_path_factory.mktemp("certificate")
    chain, private = make_certificate()
    for file, content in (("fullchain.pem", chain), ("privkey.pem", private), ("both.pem", chain + private)):
        (folder / file).write_bytes(content)
    return folder


@contextmanager
def started(
    name: str, certificate: Path, tmp_path_factory: pytest.TempPathFactory, *, interim: bool
) -> Iterator[Proxied]:
    """The command, with 104 answers or without, behind that proxy."""
    program = shutil.which(name) or shutil.which(name, path=SBIN)
    if program is None:
        pytest.skip(f"{name} is not installed")
    make, _ = PROXIES[name]
    scratch, uploads = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp("uploads")
    scratch.chmod(0o755)
    for each in certificate.iterdir():
        shutil.copy(each, scratch)
    with Served(uploads, "--behind-proxy", *(["--interim-responses"] if interim else [])) as served:
        port = free_port()
        command = make(Place(scratch, port, served.address[1]))
        environ = {"HOME": str(scratch), "XDG_DATA_HOME": str(scratch), "XDG_CONFIG_HOME": str(scratch)}
        process = ServerProcess([program, *command[1:]], port, environ=environ)
        try:
            process.wait_until_accepting()
            context = ssl.create_default_context(cafile=str(certificate / "fullchain.pem"))
            yield Proxied(name, f"https://localhost:{port}/files/", uploads, context)
        finally:
            process.stop()


@pytest.fixture(scope="module", params=PROXIES)
def proxied(
    request: pytest.FixtureRequest, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    name: str = request.param
    with started(name, certificate, tmp_path_factory, interim=PROXIES[name][1]) as found:
        yield found


def test_bytes_reach_the_app_while_the_client_is_still_sending(proxied: Proxied) -> None:
    url = proxied.create()
    with proxied.begin(url) as connection:
        connection.sendall(BODY[HALF:])
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 204
    stored = proxied.uploads / url.rpartition("/")[2]
    assert stored.read_bytes() == BODY


def test_a_cut_upload_keeps_what_arrived(proxied: Proxied) -> None:
    url = proxied.create()
    with proxied.begin(url):
        pass
    offset = int(proxied.ask("HEAD", url, TUS).headers["Upload-Offset"])
    stored = (proxied.uploads / url.rpartition("/")[2]).read_bytes()
    assert 0 < offset <= HALF
    assert stored[:offset] == BODY[:offset]


def test_the_location_is_where_the_client_asked(proxied: Proxied) -> None:
    url = proxied.create()
    assert url.startswith(proxied.url)
    assert proxied.ask("HEAD", url, TUS).status == 200


def test_the_command_s_own_check_finds_nothing_wrong(proxied: Proxied, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "--insecure", proxied.url])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert ("104 answers pass" in printed) is PROXIES[proxied.name][1]


def test_the_check_sees_that_a_proxy_takes_a_104_for_the_answer(
    certificate: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    with started("nginx", certificate, tmp_path_factory, interim=True) as found:
        code = main(["check", "--insecure", found.url])
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert code == 1
    assert failures == ["FAIL  interim: 104 came as if it were the final answer: leave --interim-responses off"]
