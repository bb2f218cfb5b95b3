"""The GCS bucket: where credentials come from, and which error becomes which."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.oauth2 import service_account

from tuspy_server.backends.gcs import Bucket, Missing, Refused, connect, translate
from tuspy_server.errors import StoreFailed, StoreUnavailable

rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")

api: Any = api_exceptions
auth: Any = auth_exceptions

WORDS = [{"domain": "global", "reason": "notFound"}]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    fields = {"type": "service_account", "project_id": "p", "private_key": pem, "client_email": "me@p.example"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps({**fields, "token_uri": "http://127.0.0.1:1/token"}))
    return path


def test_the_service_account_file_is_used(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCS_SERVICE_ACCOUNT_FILE", str(key_file))
    credentials = connect(None)._credentials
    assert isinstance(credentials, service_account.Credentials)
    assert credentials.service_account_email == "me@p.example"


def test_application_default_credentials_are_used(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GCS_SERVICE_ACCOUNT_FILE", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    assert isinstance(connect(None)._credentials, service_account.Credentials)


def test_no_token_goes_to_an_endpoint_without_tls(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GCS_SERVICE_ACCOUNT_FILE", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    assert isinstance(connect("http://127.0.0.1:1")._credentials, AnonymousCredentials)


def test_a_forked_process_has_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket("b", endpoint="http://127.0.0.1:1")
    first = bucket.client
    assert bucket.client is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert bucket.client is not first


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (api.TooManyRequests("o"), StoreUnavailable),
        (api.InternalServerError("o"), StoreUnavailable),
        (api.ServiceUnavailable("o"), StoreUnavailable),
        (api.GatewayTimeout("o"), StoreUnavailable),
        (api.RetryError("o", None), StoreUnavailable),
        (requests.ConnectionError("o"), StoreUnavailable),
        (requests.Timeout("o"), StoreUnavailable),
        (auth.TransportError("o"), StoreUnavailable),
        (api.NotFound("<html>o</html>"), StoreUnavailable),
        (api.NotFound("No such object: b/o", errors=WORDS), Missing),
        (api.NotFound("The specified bucket does not exist.", errors=WORDS), StoreFailed),
        (api.PreconditionFailed("o"), Refused),
        (api.Forbidden("o"), StoreFailed),
        (api.Unauthorized("o"), StoreFailed),
        (api.BadRequest("o"), StoreFailed),
        (auth.RefreshError("o"), StoreFailed),
        (ValueError("o"), StoreFailed),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_error_becomes_what_a_store_may_raise(raised: Exception, expected: type[Exception]) -> None:
    made: Any = translate(raised, "compose")
    assert type(made) is expected
    assert "compose" in str(made)
    assert "b/o" not in str(made)
