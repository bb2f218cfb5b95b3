"""The letters of a SAS token that docs/stores/azure.md names, on Azurite, which enforces them: enough, each needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import BlobServiceClient, ExponentialRetry, generate_container_sas

from tests.servers.azurite import ACCOUNT, KEY, AzureServer, azure_server
from tests.stores.permissions import PIECE, Trial, page
from tuspy_server.backends.azure import Container
from tuspy_server.stores.azure import AzureStore

NEEDED = page("azure.md")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


def failing(server: AzureServer, letters: str) -> set[str]:
    """What fails with a token of these letters."""
    place = server.container()
    token = generate_container_sas(
        ACCOUNT,
        place.name,
        account_key=KEY,
        permission="".join(letter for letter in "racwdxltmeop" if letter in letters),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    retries = ExponentialRetry(initial_backoff=0, increment_base=1, retry_total=0)
    with BlobServiceClient(server.endpoint, credential=token, retry_policy=retries) as client:
        return Trial(_store(place), _store(Container(place.name, client=client))).failing()


def _store(container: Container) -> AzureStore:
    return AzureStore(container, prefix="up", block_size=PIECE, smallest=PIECE // 4, blocks_in_flight=2, threads=4)


def test_letters_the_page_names_are_enough(server: AzureServer) -> None:
    assert failing(server, "".join(NEEDED)) == set()


@pytest.mark.parametrize("letter", NEEDED)
def test_without_a_letter_fails_what_the_page_says(server: AzureServer, letter: str) -> None:
    assert failing(server, "".join(NEEDED).replace(letter, "")) == NEEDED[letter] != set()
