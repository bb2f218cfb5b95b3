from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.running import RunningServer, running

SERVERS = ["uvicorn", "gunicorn-gthread", "hypercorn-trio"]


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for a whole module: each test makes uploads of its own."""
    with running(request.param, tmp_path_factory.mktemp("served") / "uploads", network_timeout=1.0) as found:
        yield found
