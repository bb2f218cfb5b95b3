"""Downloads from the container or bucket itself. Azurite checks its signatures; fake-gcs-server serves any."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials, Signing
from google.cloud import storage  # type: ignore[import-untyped, unused-ignore]
from google.oauth2 import service_account
from werkzeug.test import Client

from tests.cli.command import Served, wait_until
from tests.servers.azurite import ACCOUNT, KEY, AzureServer, azure_server
from tests.servers.gcs import GCSServer, gcs_server
from tests.stores.redirects import DATA, fetch, redirected, uploaded
from tuspy_server import WSGIApp
from tuspy_server.backends.azure import Container
from tuspy_server.backends.gcs import Bucket
from tuspy_server.stores.azure import AzureStore
from tuspy_server.stores.gcs import GCSStore


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


def azure_client(azure: AzureServer, seconds: float) -> Client:
    return Client(WSGIApp(AzureStore(azure.container(), redirect_downloads=seconds)))


class Signer(AnonymousCredentials, Signing):
    """Signs with a service account's key, and sends no token: that is for an emulator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]  # Google's
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        info = {"client_email": "me@example.com", "token_uri": "https://token.example/", "private_key": pem.decode()}
        account: Any = service_account.Credentials
        self._account = account.from_service_account_info(info)

    def sign_bytes(self, message: bytes) -> bytes:
        signed: bytes = self._account.sign_bytes(message)
        return signed

    @property
    def signer_email(self) -> str:
        return "me@example.com"

    @property
    def signer(self) -> Any:
        return self._account.signer


def test_the_address_of_a_blob_leads_to_its_bytes_and_ranges(azure: AzureServer) -> None:
    client = azure_client(azure, 60)
    url = redirected(client, uploaded(client)).headers["Location"]
    assert fetch(url)[::2] == (200, DATA)
    assert fetch(url, Range="bytes=5-9")[::2] == (206, DATA[5:10])
    empty = redirected(client, uploaded(client, b"")).headers["Location"]
    assert fetch(empty)[::2] == (200, b"")


def test_a_blob_is_served_as_harmlessly_as_from_here(azure: AzureServer) -> None:
    client = azure_client(azure, 60)
    url = uploaded(client, b"<script>", filename="größe.html", filetype="text/html; charset=x")
    headers = fetch(redirected(client, url).headers["Location"])[1]
    assert headers["Content-Type"] == "text/html"
    assert headers["Content-Disposition"].startswith('attachment; filename="gr__e.html"')
    assert headers["Cache-Control"] == "private, no-cache"


def test_nothing_of_a_blob_s_address_can_be_changed(azure: AzureServer) -> None:
    client = azure_client(azure, 60)
    url = redirected(client, uploaded(client, filetype="text/html")).headers["Location"]
    other = uploaded(client).rpartition("/")[2]
    assert "attachment" in url
    assert fetch(url.replace("attachment", "inline"))[0] == 403
    assert fetch(url.replace(urlsplit(url).path.split("/")[3], other))[0] == 403


def test_the_address_of_a_blob_is_refused_once_its_time_is_over(azure: AzureServer) -> None:
    client = azure_client(azure, 1)
    url = redirected(client, uploaded(client)).headers["Location"]
    begun = time.monotonic()
    wait_until(lambda: fetch(url)[0] == 403)
    assert time.monotonic() - begun < 10


def test_a_client_of_the_command_follows_to_the_container(azure: AzureServer, tmp_path: Path) -> None:
    container = ["--azure-storage", azure.container().name, "--azure-endpoint", azure.endpoint]
    environment = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY}
    with Served(tmp_path, *container, "--azure-redirect-downloads", "1m", environment=environment) as served:
        url = served.upload(DATA)
        assert served.request("GET", url)[0] == 307
        assert fetch(url)[::2] == (200, DATA)


def test_the_address_of_an_object_leads_to_its_bytes(gcs: GCSServer) -> None:
    sdk: Any = storage.Client
    signing = sdk(project=None, credentials=Signer(), client_options={"api_endpoint": gcs.endpoint})
    client = Client(WSGIApp(GCSStore(Bucket(gcs.new_bucket(), client=signing), redirect_downloads=60)))
    url = redirected(client, uploaded(client, filename="a.html", filetype="text/html")).headers["Location"]
    fields = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert fields["response-content-type"] == "text/html"
    assert fields["response-content-disposition"] == 'attachment; filename="a.html"'
    assert fields["response-cache-control"] == "private, no-cache"
    assert (fields["X-Goog-Algorithm"], fields["X-Goog-Expires"]) == ("GOOG4-RSA-SHA256", "60")
    assert len(fields["X-Goog-Signature"]) == 512
    assert fetch(url)[::2] == (200, DATA)
    signing.close()


def test_credentials_that_cannot_sign_are_refused_at_once(
    gcs: GCSServer, azure: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="to sign with"):
        GCSStore(Bucket("b", client=gcs.client), redirect_downloads=60)
    monkeypatch.delenv("AZURE_STORAGE_KEY", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=abc")
    with pytest.raises(ValueError, match="to sign with"):
        AzureStore(Container("c", account=ACCOUNT), redirect_downloads=60)


@pytest.mark.parametrize("seconds", [-1, 7 * 24 * 3600 + 1])
def test_times_that_are_out_of_bounds_are_refused(seconds: float, azure: AzureServer) -> None:
    with pytest.raises(ValueError, match="redirect_downloads"):
        AzureStore(azure.container(), redirect_downloads=seconds)
