"""tuspy from PyPI against the command, with every option that it has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.interop.clients.outcomes import TOLD, Outcome, told
from tests.servers.certificates import certificate

pytest.importorskip("tusclient", reason="tuspy is not installed")

from tests.interop.clients import tuspy_driver as tuspy

VERSION = "tuspy 1.1.0"


def write_certificate(place: Path) -> list[str]:
    """Returns the command's flags for a certificate of this machine."""
    for file, content in zip(("certificate.pem", "key.pem"), certificate(), strict=True):
        (place / file).write_bytes(content)
    return ["--tls-certificate", str(place / "certificate.pem"), "--tls-key", str(place / "key.pem")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuspy")


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with Served(place / "uploads") as served:
        yield served


@pytest.fixture(scope="module")
def outcomes(place: Path, served: Served) -> dict[str, Outcome]:
    # over TLS that is not verified urllib3 warns; the client leaves connections and files to the collector
    with Served(place / "uploads", *write_certificate(place)) as secure, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(tuspy.run(served.url, secure.url, place))


@pytest.mark.parametrize("name", tuspy.SCENARIOS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_client_does(outcomes: dict[str, Outcome], served: Served, name: str) -> None:
    outcomes[name].check(served)


def test_every_option_ran(outcomes: dict[str, Outcome], record_property: Callable[[str, object], None]) -> None:
    record_property(TOLD, told(VERSION, tuspy.options(), outcomes))
    assert sorted({option for outcome in outcomes.values() for option in outcome.options}) == tuspy.options()
