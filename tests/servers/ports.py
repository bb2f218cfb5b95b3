"""Ports for servers of a test: nobody else's, not even between the choice and the moment the server binds.

A port that the kernel chose (bind to 0) lies where the kernel also takes the ports of clients from: a connection of
any process may sit on it before the server comes, and one that knocks on it may meet itself. So ports come from below
that range, and each stays claimed for as long as the tests of this process may need it.
"""

from __future__ import annotations

import random
import socket
import sys
from collections import deque

LOWEST, HIGHEST = 10_000, 22_000  # the ports of clients start at 32768, and some servers take port + 10000 as well
CLAIMS = 300  # claims held at once: more than the servers that run at once, fewer than a process may open files

_claims: deque[socket.socket] = deque(maxlen=CLAIMS)
_random = random.SystemRandom()


def free_port(*, shift: int = 0) -> int:
    """A port that nobody listens on and no other test run is given; with `shift`, likewise port + shift is free."""
    for port in _random.sample(range(LOWEST, HIGHEST), 1000):
        if _free(port) and _free(port + shift) and _claim(port):
            return port
    raise RuntimeError("no free port found")


def free_ports(count: int, *, shift: int = 0) -> list[int]:
    """Several, each as `free_port`."""
    return [free_port(shift=shift) for _ in range(count)]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that just ended is gone
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _claim(port: int) -> bool:
    """Take the port's name among the test runs of this machine; the kernel frees it with the process."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0tuspy-server-test-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
