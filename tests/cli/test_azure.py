"""The command on Azure Blob Storage."""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import TUS, Served, run

pytest.importorskip("azure.storage.blob")

from tests.servers.azurite import ACCOUNT, KEY, AzureServer, azure_server

CREDENTIALS = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture
def container() -> str:
    return f"c-{secrets.token_hex(6)}"


def arguments(server: AzureServer, container: str, *more: str) -> list[str]:
    return ["--azure-storage", container, "--azure-endpoint", server.endpoint, *more]


def fetch(url: str) -> bytes | None:
    """What the public gets, who has no credentials; None if that is refused."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code not in (403, 404, 409):
            raise
        return None


@pytest.mark.parametrize(
    ("access", "blob", "listing"), [("private", False, False), ("blob", True, False), ("container", True, True)]
)
def test_a_missing_container_is_made_and_as_public_as_was_said(
    server: AzureServer, container: str, tmp_path: Path, access: str, blob: bool, listing: bool
) -> None:
    made = arguments(server, container, "--azure-container-access-type", access)
    with Served(tmp_path, *made, environment=CREDENTIALS) as served:
        upload = served.upload(b"hello")
        assert served.request("GET", upload)[2] == b"hello"
    base = f"{server.endpoint}/{container}"
    assert (fetch(f"{base}/{upload.rpartition('/')[2]}/data") == b"hello") is blob
    assert (fetch(f"{base}?restype=container&comp=list") is not None) is listing


def test_a_container_that_is_there_stays_as_it_is(server: AzureServer, tmp_path: Path) -> None:
    container = server.container().name
    made = arguments(server, container, "--azure-container-access-type", "blob")
    with Served(tmp_path, *made, environment=CREDENTIALS) as served:
        upload = served.upload(b"hello")
    assert fetch(f"{server.endpoint}/{container}/{upload.rpartition('/')[2]}/data") is None


def test_without_the_flag_no_container_is_made(server: AzureServer, container: str, tmp_path: Path) -> None:
    with Served(tmp_path, *arguments(server, container), environment=CREDENTIALS) as served:
        assert served.request("POST", served.url, {**TUS, "Upload-Length": "1"})[0] >= 500
    assert not server.client().get_container_client(container).exists()


def test_a_container_that_cannot_be_made_gets_one_sentence_and_code_1(server: AzureServer, container: str) -> None:
    made = arguments(server, container, "--azure-container-access-type", "private", "--port", "0")
    done = run(*made, environment={**CREDENTIALS, "AZURE_STORAGE_KEY": "bm90IHRoaXM="})
    assert done.returncode == 1
    assert done.stderr.startswith("tuspy-server: ")
    assert "create container" in done.stderr
    assert done.stderr.count("\n") == 1


def test_operators_make_no_container(server: AzureServer, container: str) -> None:
    made = arguments(server, container, "--azure-container-access-type", "private")
    assert run("uploads", *made, environment=CREDENTIALS).returncode == 1
    assert not server.client().get_container_client(container).exists()
