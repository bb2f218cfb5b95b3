"""The sockets that are listened at, and the TLS around them."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from typing import Literal

from tuspy_server.cli.settings import Listening, Settings, Tls

BACKLOG = 2048

_AUTHENTICATED = "ECDHE+AESGCM:ECDHE+CHACHA20"
_STRONG = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"


@contextlib.contextmanager
def listening(wanted: Listening) -> Iterator[list[socket.socket]]:
    """Listening sockets at every address of the host; with port 0, all at the port the first one was given.

    Or the one Unix socket, whose name is removed at the end. Raises OSError with a sentence.
    """
    where = wanted.unix_sock or f"{wanted.host}:{wanted.port}"
    try:
        made = [_unix_listener(wanted)] if wanted.unix_sock else _listeners(wanted)
    except OSError as exc:
        raise OSError(f"cannot listen at {where}: {exc.strerror or exc}") from exc
    try:
        yield made
    finally:
        for each in made:
            each.close()
        if wanted.unix_sock:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(wanted.unix_sock)


def url(settings: Settings, listener: socket.socket) -> str:
    """Where uploads are created, with the port that was really taken."""
    wanted = settings.listening
    if wanted.unix_sock:
        return f"unix:{wanted.unix_sock}:{wanted.base_path}"
    scheme = "https" if settings.tls.tls_certificate else "http"
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}{wanted.base_path}"


def tls_context(wanted: Tls) -> ssl.SSLContext | None:
    """None without a certificate. Raises OSError with a sentence."""
    if not wanted.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, wanted.tls_mode)
    try:
        context.load_cert_chain(wanted.tls_certificate, wanted.tls_key, password=_refuse_password)
    except (OSError, ValueError) as exc:
        raise OSError(f"cannot use {wanted.tls_certificate} with {wanted.tls_key}: {exc}") from exc
    return context


def _restrict(context: ssl.SSLContext, mode: Literal["tls12", "tls12-strong", "tls13"]) -> None:
    if mode == "tls13":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_STRONG if mode == "tls12-strong" else _AUTHENTICATED)
    if mode == "tls12-strong":
        context.maximum_version = ssl.TLSVersion.TLSv1_2


def _refuse_password() -> str:
    raise ValueError("the key is encrypted")  # or OpenSSL would ask for it on the terminal


def _listeners(wanted: Listening) -> list[socket.socket]:
    found = socket.getaddrinfo(wanted.host or None, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    port = wanted.port
    for family, _, _, _, address in dict.fromkeys(found):
        made = _listener(family, (address[0], port, *address[2:]))
        port = port or made.getsockname()[1]
        sockets.append(made)
    return sockets


def _listener(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _unix_listener(wanted: Listening) -> socket.socket:
    path = wanted.unix_sock
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError("what is there is not a socket")
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        os.chmod(path, wanted.unix_sock_perms)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
