"""Starts the command again and again in a fraction of a second: forks a process that has imported everything.

Speaks lines over its standard streams: `start ARGUMENT...` (tab-separated) is answered by the child's pid. The child
runs the real command; it is killed from outside.
"""

from __future__ import annotations

import os
import signal
import sys

import uvicorn

import tuspy_server.asgi
import tuspy_server.servers.uvicorn
import tuspy_server.stores.file
from tuspy_server.cli import main

__all__ = ["tuspy_server", "uvicorn"]


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps what was killed
    for line in sys.stdin:
        _, *arguments = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            os.dup2(2, 1)
            sys.argv = ["tuspy-server", *arguments]
            main()
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
