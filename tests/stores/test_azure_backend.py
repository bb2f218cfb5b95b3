"""The Azure container: where credentials come from, and which error becomes which."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core import exceptions as core

from tests.servers.azurite import ACCOUNT, KEY
from tuspy_server.backends.azure import Container, Missing, Refused, connect, translate
from tuspy_server.errors import StoreFailed, StoreUnavailable

VARIABLES = ("CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


def test_account_and_key_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    client: Any = connect()
    assert client.url == "https://mine.blob.core.windows.net/"
    assert client.credential.account_name == "mine"


def test_connection_string_is_used_if_no_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"DefaultEndpointsProtocol=https;AccountName=theirs;AccountKey={KEY};EndpointSuffix=core.windows.net"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert connect().account_name == "theirs"
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    assert connect("mine").account_name == "mine"


def test_sas_token_is_part_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=abc")
    assert connect("mine").url == "https://mine.blob.core.windows.net/?sv=1&sig=abc"


def test_endpoint_takes_the_place_of_the_public_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    assert connect(ACCOUNT, f"http://127.0.0.1:1/{ACCOUNT}").url == f"http://127.0.0.1:1/{ACCOUNT}/"


def test_nothing_to_go_by_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="name an Azure storage account, or set AZURE_STORAGE_ACCOUNT"):
        connect()


def test_a_forked_process_has_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    container = Container("c", account="mine")
    first = container.client
    assert container.client is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert container.client is not first


def answered(status: int, code: str | None) -> core.HttpResponseError:
    error = core.HttpResponseError("c/o")
    error.status_code = status
    error.error_code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (core.ServiceRequestError("c/o"), StoreUnavailable),
        (core.ServiceResponseError("c/o"), StoreUnavailable),
        (core.IncompleteReadError("c/o"), StoreUnavailable),
        (answered(503, "ServerBusy"), StoreUnavailable),
        (answered(500, "OperationTimedOut"), StoreUnavailable),
        (answered(429, None), StoreUnavailable),
        (answered(404, None), StoreUnavailable),
        (answered(404, "BlobNotFound"), Missing),
        (answered(404, "ContainerNotFound"), StoreFailed),
        (answered(400, "InvalidBlockList"), Missing),
        (answered(409, "BlobAlreadyExists"), Refused),
        (answered(409, "LeaseAlreadyPresent"), Refused),
        (answered(412, "ConditionNotMet"), Refused),
        (answered(409, "BlobImmutableDueToPolicy"), StoreFailed),
        (answered(403, "AuthorizationFailure"), StoreFailed),
        (core.ClientAuthenticationError("c/o"), StoreFailed),
        (core.AzureError("c/o"), StoreFailed),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "error_code", type(value).__name__)),
)
def test_error_becomes_what_a_store_may_raise(raised: Exception, expected: type[Exception]) -> None:
    made = translate(raised, "stage block")
    assert type(made) is expected
    assert "stage block" in str(made)
    assert "c/o" not in str(made)


def test_code_known_to_the_sdk_counts_like_its_text() -> None:
    assert isinstance(translate(answered(400, SimpleNamespace(value="InvalidBlockList")), "commit"), Missing)  # type: ignore[arg-type]
