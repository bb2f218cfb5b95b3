"""Azurite, the Azure Blob emulator, behind a proxy that refuses what Azure refuses and Azurite accepts.

It is the npm package `azurite`, found as `azurite-blob` on PATH, in node_modules of the working directory, or by
AZURITE_BLOB.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from azure.storage.blob import BlobServiceClient, ExponentialRetry

from tests.servers.azure_rules import AzureRules
from tests.servers.emulators import program, running
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy
from tuspy_server.backends.azure import Container

ACCOUNT: Final = "devstoreaccount1"
#: The emulator's well-known key.
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def client(endpoint: str, *, retries: int = 0, timeout: float = 60.0) -> BlobServiceClient:
    return BlobServiceClient(
        endpoint,
        credential={"account_name": ACCOUNT, "account_key": KEY},
        retry_policy=ExponentialRetry(initial_backoff=0, increment_base=1, retry_total=retries),
        connection_timeout=timeout,
        read_timeout=timeout,
        max_single_put_size=4000 * 1024 * 1024,
    )


@dataclass(frozen=True, slots=True)
class AzureServer:
    """A running server; `endpoint` leads through the proxy."""

    proxy: Proxy
    rules: AzureRules
    clients: dict[tuple[int, float], BlobServiceClient] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}/{ACCOUNT}"

    def client(self, *, retries: int = 0, timeout: float = 60.0) -> BlobServiceClient:
        made = self.clients.get((retries, timeout))
        if made is None:
            made = self.clients[retries, timeout] = client(self.endpoint, retries=retries, timeout=timeout)
        return made

    def close(self) -> None:
        for made in self.clients.values():
            made.close()

    def container(self, name: str | None = None, *, retries: int = 0, timeout: float = 60.0) -> Container:
        """The container of that name, or a new one."""
        if name is not None:
            return Container(name, client=self.client(retries=retries, timeout=timeout))
        made = Container(f"c-{secrets.token_hex(6)}", client=self.client(retries=retries, timeout=timeout))
        made.make()
        return made

    def names(self, container: str) -> list[str]:
        """All blobs of a container, uncommitted ones too."""
        listed = self.client().get_container_client(container).list_blobs(include=["uncommittedblobs", "snapshots"])
        return [blob.name for blob in listed]


def azurite_command(port: int, folder: Path | None = None) -> list[str]:
    """How it is started; what it stores is kept in `folder`, or in memory. Skips the test where it is missing."""
    path = program("azurite-blob", "AZURITE_BLOB", Path("node_modules/.bin"))
    if path is None:
        pytest.skip("azurite is not installed: npm install azurite")
    kept = ["--inMemoryPersistence"] if folder is None else ["--location", str(folder)]
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    return [path, *options, *kept, "--skipApiVersionCheck", "--disableTelemetry"]


@contextmanager
def azure_server(folder: Path) -> Iterator[AzureServer]:
    port = free_port()
    command = azurite_command(port)
    rules = AzureRules()
    proxy = Proxy(port, rules)
    try:
        with running(command, port, folder / "azurite.log"), closing(AzureServer(proxy, rules)) as server:
            yield server
    finally:
        proxy.stop()
