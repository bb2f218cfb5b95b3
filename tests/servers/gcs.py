"""fake-gcs-server behind a proxy that keeps the rules of Google Cloud Storage which it does not.

No server on the package registries keeps them all: gcp-storage-emulator keeps no precondition, fake-gcs-server those
of uploads alone (see gcs_rules). It is `go install github.com/fsouza/fake-gcs-server@v1.56.1`, found on PATH, in Go's
bin folder, or by FAKE_GCS_SERVER.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.emulators import program, running
from tests.servers.gcs_rules import GCSRules
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy
from tuspy_server.backends.gcs import Bucket, connect


@dataclass(frozen=True, slots=True)
class GCSServer:
    """A running server; `endpoint` and `client` lead through the proxy, `admin` does not."""

    proxy: Proxy
    admin: Any
    client: Any

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def new_bucket(self) -> str:
        name = f"b-{secrets.token_hex(6)}"
        self.admin.create_bucket(name, project="test")
        return name

    def bucket(self, name: str, *, retry_period: float = 0.0, timeout: float = 60.0) -> Bucket:
        return Bucket(name, client=self.client, retry_period=retry_period, timeout=timeout)

    def names(self, bucket: str) -> list[str]:
        """All objects of a bucket."""
        return [blob.name for blob in self.admin.list_blobs(bucket)]


@contextmanager
def gcs_server(folder: Path) -> Iterator[GCSServer]:
    path = program("fake-gcs-server", "FAKE_GCS_SERVER", Path.home() / "go/bin", Path("/usr/local/go/bin"))
    if path is None:
        pytest.skip("fake-gcs-server is not installed: go install github.com/fsouza/fake-gcs-server@v1.56.1")
    port = free_port()
    proxy = Proxy(port, GCSRules())
    url = f"http://127.0.0.1:{proxy.port}"
    command = [path, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    command += ["-external-url", url, "-public-host", f"127.0.0.1:{proxy.port}", "-log-level", "error"]
    try:
        with (
            running(command, port, folder / "fake-gcs-server.log"),
            closing(connect(f"http://127.0.0.1:{port}")) as admin,
            closing(connect(url)) as client,
        ):
            yield GCSServer(proxy, admin, client)
    finally:
        proxy.stop()
