"""tuspy from PyPI against the command, with every option that it has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.interop.clients.outcomes import TOLD, Outcome, told

pytest.importorskip("tusclient", reason="tuspy is not installed")

from tests.interop.clients import tuspy_driver as tuspy

VERSION = "tuspy 1.1.0"


def write_certificate(place: Path) -> list[str]:
    """A certificate of this machine and its key; returns the command's flags for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (place / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (place / "key.pem").write_bytes(key.private_bytes(pem, *plain))
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
