"""The deployment of docs/scaling-out.md: two commands, a bucket, a proxy that knows no sessions and cuts connections.

20 uploads; TUSPY_TWO_NODES says how many instead.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.command import Served
from tests.interop.clients import npm
from tests.servers.ports import free_port
from tests.servers.round_robin import RoundRobin
from tests.servers.running import ROOT

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("redis", reason="redis is not installed")

from tests.lockers.test_redis import redis_server
from tests.servers import s3
from tests.servers.s3 import close_clients as close_clients

CROWD = Path(__file__).parent / "clients" / "crowd.mjs"
UPLOADS = int(os.environ.get("TUSPY_TWO_NODES", "20"))
SEED = int(os.environ.get("TUSPY_TWO_NODES_SEED", "20"))
COMMANDS = re.findall(r"^tuspy-server (.+)$", (ROOT / "docs" / "scaling-out.md").read_text(), re.MULTILINE)
LOCKS = {"redis": COMMANDS[0], "bucket": COMMANDS[1]}


def arguments(line: str, locker: str, endpoint: str) -> list[str]:
    """The documented command's, but for where it listens, on this machine's servers."""
    _, host, _, port, *rest = shlex.split(line)
    assert (host, port) == ("0.0.0.0", "8080")
    here = {"http://s3:8333": endpoint, "redis://redis:6379/0": locker}
    return [here.get(word, word) for word in rest]


@pytest.fixture(params=LOCKS)
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Served]]:
    server = s3.seaweedfs()
    credentials = {"AWS_ACCESS_KEY_ID": s3.KEY_ID, "AWS_SECRET_ACCESS_KEY": s3.SECRET, "AWS_REGION": "us-east-1"}
    locker = ""
    with ExitStack() as stack:
        if request.param == "redis":
            redis = stack.enter_context(redis_server(tmp_path, free_port()))
            locker = f"redis://127.0.0.1:{redis.port}/0"
        flags = arguments(LOCKS[request.param], locker, server.url)
        yield [stack.enter_context(Served(tmp_path / "data", *flags, environment=credentials)) for _ in range(2)]


def test_the_documented_deployment_is_two_commands_that_differ_in_the_locker() -> None:
    assert len(COMMANDS) == 2
    assert COMMANDS[0] == f"{COMMANDS[1]} --locker redis://redis:6379/0"


def test_every_upload_arrives_whole_through_two_nodes(
    nodes: list[Served], npm_packages: Path, record_property: Callable[[str, object], None]
) -> None:
    ports = [int(urlsplit(node.url).port or 0) for node in nodes]
    with RoundRobin(ports, seed=SEED) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}/files/"
        driven = npm.node(
            CROWD, npm_packages, "tus-js-client-4", endpoint, str(UPLOADS), str(SEED), timeout=60 + 15 * UPLOADS
        )
        counts = f"{sum(proxy.sent.values())} requests, {proxy.cuts} cut"
    record_property("two nodes", counts)
    assert driven.returncode == 0, counts
    uploads = [json.loads(line) for line in driven.stdout.splitlines()]
    assert len(uploads) == UPLOADS
    assert proxy.cuts > UPLOADS / 2
    assert abs(proxy.sent[ports[0]] - proxy.sent[ports[1]]) <= 1
    for number, upload in enumerate(uploads):
        node = nodes[number % 2]
        here = f"{node.url}{upload['url'].rpartition('/')[2]}"
        content = node.request("GET", here)[2]
        concat = node.request("HEAD", here)[1]["Upload-Concat"]
        assert (len(content), sha256(content).hexdigest()) == (upload["size"], upload["sha256"]), (upload, concat)
