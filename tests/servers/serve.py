"""Servers that have no command of their own, or none that takes a factory: python -m tests.servers.serve NAME PORT."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.servers.apps import asgi, wsgi

HOST = "127.0.0.1"
THREADS = 32


def werkzeug(port: int) -> None:
    from werkzeug.serving import run_simple

    run_simple(HOST, port, wsgi(), threaded=True)


def cheroot(port: int) -> None:
    from cheroot.wsgi import Server

    Server((HOST, port), wsgi(), numthreads=THREADS).safe_start()


def waitress(port: int) -> None:
    from waitress import serve

    forwarded = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}  # which it removes otherwise
    serve(wsgi(), host=HOST, port=port, threads=THREADS, trusted_proxy=HOST, trusted_proxy_headers=forwarded)


def daphne(port: int) -> None:
    from daphne.server import Server

    Server(asgi(), endpoints=[f"tcp:port={port}:interface={HOST}"], signal_handlers=True).run()


SERVERS: dict[str, Callable[[int], None]] = {
    "werkzeug": werkzeug,
    "cheroot": cheroot,
    "waitress": waitress,
    "daphne": daphne,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
