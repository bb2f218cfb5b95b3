"""`tuspy-server check URL`: whether what stands before a server lets resumable uploads through."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from tuspy_server.cli.errors import SettingsError
from tuspy_server.cli.watching import say

FAILED = 1
SIZE = 256 * 1024  # bytes of a trial upload; half of it is more than a proxy holds back while it streams
ORIGIN = "https://origin.example"

_TUS = {"Tus-Resumable": "1.0.0"}
_APPEND = {**_TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
_VERSION = {"Upload-Draft-Interop-Version": "8"}
_RUFH = {**_VERSION, "Upload-Complete": "?0", "Content-Length": str(SIZE)}
_EXPOSED = ("location", "upload-offset", "upload-length", "tus-resumable")


class Refused(Exception):
    """A check that failed; the text says what was seen."""


@dataclass(slots=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage


@dataclass
class Target:
    """A collection's URL, and requests to it on connections of their own."""

    url: str
    headers: dict[str, str]
    timeout: float
    insecure: bool
    made: list[str] = field(default_factory=list)

    def connect(self, url: str) -> socket.socket:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        address = (parts.hostname or "", parts.port or (443 if secure else 80))
        plain = socket.create_connection(address, self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not secure:
            return plain
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=parts.hostname)

    def send_head(self, connection: socket.socket, method: str, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = {"Host": parts.netloc, **self.headers, **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))

    def ask(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        framed = headers if "Transfer-Encoding" in headers else {"Content-Length": str(len(body)), **headers}
        with self.connect(url) as connection:
            self.send_head(connection, method, url, {**framed, "Connection": "close"})
            connection.sendall(body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            response.read()
            return Answer(response.status, response.headers)

    def create(self, size: int = SIZE) -> str:
        answer = self.ask("POST", self.url, {**_TUS, "Upload-Length": str(size)})
        location = answer.headers.get("Location")
        if answer.status != 201 or location is None:
            raise Refused(f"a creation was answered with {answer.status}")
        return self.keep(location)

    def keep(self, location: str) -> str:
        """The URL of an upload that was made, to be removed at the end."""
        url = urljoin(self.url, location)
        if url not in self.made:
            self.made.append(url)
        return url

    def offset(self, url: str) -> int:
        answer = self.ask("HEAD", url, _TUS)
        found = answer.headers.get("Upload-Offset", "")
        if answer.status not in (200, 204) or not found.isdigit():
            raise Refused(f"HEAD was answered with {answer.status}")
        return int(found)

    def offset_when(self, url: str, enough: int) -> int:
        """The offset once it is at least `enough`, or when the time is over."""
        deadline = time.monotonic() + self.timeout
        while (found := self.offset(url)) < enough and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


def _discovery(target: Target) -> str:
    answer = target.ask("OPTIONS", target.url, {})
    if answer.status not in (200, 204) or "Tus-Version" not in answer.headers:
        raise Refused(f"OPTIONS was answered with {answer.status}, without Tus-Version")
    return f"tus {answer.headers['Tus-Version']}, {answer.headers.get('Tus-Extension', 'no extension')}"


def _location(target: Target) -> str:
    url = target.create()
    asked, told = urlsplit(target.url), urlsplit(url)
    if (asked.scheme, asked.netloc) != (told.scheme, told.netloc):
        raise Refused(
            f"Location is at {told.scheme}://{told.netloc}, not at {asked.scheme}://{asked.netloc}: let the proxy send "
            "X-Forwarded-Proto and X-Forwarded-Host, and the server run with --behind-proxy"
        )
    target.offset(url)
    return "an upload is found at the URL that its creation told"


def _cors(target: Target) -> str:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "tus-resumable,upload-offset"}
    preflight = target.ask("OPTIONS", target.url, {"Origin": ORIGIN, **asked}).headers
    if "Access-Control-Allow-Origin" not in preflight:
        raise Refused(f"a preflight from {ORIGIN} gets no Access-Control-Allow-Origin")
    if "PATCH" not in preflight.get("Access-Control-Allow-Methods", ""):
        raise Refused("a preflight does not allow PATCH")
    answer = target.ask("HEAD", target.made[0] if target.made else target.create(), {**_TUS, "Origin": ORIGIN})
    origins = answer.headers.get_all("Access-Control-Allow-Origin", [])
    exposed = answer.headers.get("Access-Control-Expose-Headers", "").lower()
    if len(origins) != 1:
        raise Refused(f"{len(origins)} Access-Control-Allow-Origin fields in an answer: exactly one is understood")
    missing = [name for name in _EXPOSED if name not in exposed]
    if missing:
        raise Refused(f"not exposed to scripts: {', '.join(missing)}")
    return "browsers of other sites may upload"


def _streaming(target: Target) -> str:
    url = target.create()
    with target.connect(url) as connection:
        target.send_head(connection, "PATCH", url, {**_APPEND, "Content-Length": str(SIZE)})
        connection.sendall(bytes(SIZE // 2))
        time.sleep(0.5)  # HEAD ends the PATCH: what is on its way would come too late
        found = target.offset_when(url, 1)
    if not found:
        raise Refused("no byte arrived while a body was being sent: switch request buffering off in the proxy")
    return f"{found} of {SIZE // 2} bytes sent had arrived while the body was being sent"


def _cut(target: Target) -> str:
    url = target.create()
    with target.connect(url) as connection:
        target.send_head(connection, "PATCH", url, {**_APPEND, "Content-Length": str(SIZE)})
        connection.sendall(bytes(SIZE // 2))
        time.sleep(0.5)  # what a proxy has in hand when its client goes may be lost
    found = target.offset_when(url, 1)
    if not found:
        raise Refused("nothing was kept of an upload that was cut off")
    return f"{found} of {SIZE // 2} bytes kept of an upload that was cut off"


def _chunked(target: Target) -> str:
    url, body = target.create(), bytes(SIZE)
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    answer = target.ask("PATCH", url, {**_APPEND, "Transfer-Encoding": "chunked"}, framed)
    if answer.status != 204:
        raise Refused(f"a chunked body was answered with {answer.status}")
    return "chunked bodies pass"


_LONGEST_LINE = 65536
# What a proxy adds to an answer that it takes for the last; to a 104 that it passes on, Date and Server at most.
_OF_FINAL_ANSWERS = ("connection", "content-length", "transfer-encoding")


def _interim(target: Target) -> str:
    """Informative: a server sends 104 only when it is told to."""
    with target.connect(target.url) as connection, connection.makefile("rb") as received:
        target.send_head(connection, "POST", target.url, {**_RUFH, "Connection": "close"})
        connection.sendall(bytes(SIZE))
        statuses: list[int] = []
        while not statuses or statuses[-1] < 200:
            status, fields = _head(received)
            statuses.append(status)
            if "location" in fields:
                target.keep(fields["location"])
            if status == 104 and any(name in fields for name in _OF_FINAL_ANSWERS):
                raise Refused("104 came as if it were the final answer: leave --interim-responses off")
    if 104 not in statuses:
        return "no 104 came: the server sends none (--interim-responses), or what is in front holds them back"
    return "104 answers pass"


def _head(received: BinaryIO) -> tuple[int, http.client.HTTPMessage]:
    """The next status and its fields. Raises Refused at what is no answer."""
    line = received.readline(_LONGEST_LINE).split()
    if len(line) < 2 or not line[0].startswith(b"HTTP/") or not line[1].isdigit():
        raise Refused("the connection ended before an answer came")
    return int(line[1]), http.client.parse_headers(received)


CHECKS: tuple[tuple[str, Callable[[Target], str]], ...] = (
    ("discovery", _discovery),
    ("location", _location),
    ("cors", _cors),
    ("streaming", _streaming),
    ("cut", _cut),
    ("chunked", _chunked),
    ("interim", _interim),
)


def check(url: str, headers: Sequence[str], *, timeout: float, insecure: bool) -> int:
    """Try everything, a line for each, and remove the trial uploads. Returns 1 if anything failed."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise SettingsError(f"{url!r} is not an http or https URL")
    target = Target(url, dict(_headers(headers)), timeout, insecure)
    code = 0
    for name, act in CHECKS:
        try:
            say(f"ok    {name}: {act(target)}")
        except (Refused, OSError, http.client.HTTPException) as exc:
            code = FAILED
            say(f"FAIL  {name}: {exc or type(exc).__name__}")
            if name == "discovery":
                break
    _tidy(target)
    return code


def _headers(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isprintable():
            raise SettingsError(f"--header {line!r} is not NAME: VALUE")
        yield name.strip(), value.strip()


def _tidy(target: Target) -> None:
    kept = 0
    for url in target.made:
        try:
            kept += not any(target.ask("DELETE", url, version).status in (204, 410) for version in (_TUS, _VERSION))
        except (OSError, http.client.HTTPException):
            kept += 1
    if kept:
        say(f"note  {kept} trial uploads of at most {SIZE} bytes are left")
