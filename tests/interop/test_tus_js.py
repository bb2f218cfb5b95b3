"""tus-js-client in node against the command, with every option that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.interop.clients import npm
from tests.interop.clients.outcomes import TOLD, Outcome, told

DRIVER = Path(__file__).parent / "clients" / "tus.mjs"
SCENARIOS = re.findall(r"^  async '([^']+)'\(\) \{$", DRIVER.read_text(), re.MULTILINE)
CLIENTS = {"tus-js-client-4": "tus-js-client 4.3.1", "tus-js-client-5": "tus-js-client 5.0.0-pre2"}


@dataclass(frozen=True)
class Run:
    """All scenarios of a client, and the server that they left."""

    client: str
    served: Served
    options: list[str]
    outcomes: dict[str, Outcome]


@pytest.fixture(scope="module", params=CLIENTS)
def run(request: pytest.FixtureRequest, npm_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    place = tmp_path_factory.mktemp("tus-js")
    client: str = request.param
    with Served(place / "uploads") as served:
        first, *lines = map(json.loads, npm.node(DRIVER, npm_packages, client, served.url, place).stdout.splitlines())
        assert first["scenarios"] == SCENARIOS
        outcomes = {
            line["name"]: Outcome(
                line["options"], [(entry["url"], entry["sha256"]) for entry in line["left"]], line["failed"]
            )
            for line in lines
        }
        yield Run(client, served, first["options"], outcomes)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_client_does(run: Run, name: str) -> None:
    run.outcomes[name].check(run.served)


def test_every_option_ran(run: Run, record_property: Callable[[str, object], None]) -> None:
    record_property(TOLD, told(CLIENTS[run.client], run.options, run.outcomes))
    assert {option for outcome in run.outcomes.values() for option in outcome.options} == set(run.options)


def test_the_packages_are_those_that_are_named() -> None:
    wanted = json.loads(npm.PACKAGES.read_text())["dependencies"]
    assert {wanted[client].removeprefix("npm:").replace("@", " ") for client in CLIENTS} == set(CLIENTS.values())
