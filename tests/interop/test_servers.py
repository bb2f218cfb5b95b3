"""One list of scenarios over every server; what a server cannot do is in the tables of docs/servers.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.observing import Observations
from tests.interop.scenarios import SCENARIOS
from tests.interop.table import BEGIN, END, PAGE, SERVERS, committed, render
from tests.servers.running import running


@pytest.fixture(scope="module")
def observations(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observations]:
    wanted: dict[str, list[str]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.originalname == "test_a_server_does_what_its_table_says":
            name, title = item.callspec.params["name"], item.callspec.params["title"]
            wanted.setdefault(str(name), []).append(str(title))
    with Observations(tmp_path_factory.mktemp("observed"), wanted) as found:
        yield found


@pytest.mark.parametrize("title", SCENARIOS)
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_does_what_its_table_says(observations: Observations, name: str, title: str) -> None:
    assert observations.of(name, title) == committed()[title][name]


def test_the_tables_hold_every_scenario_and_every_server() -> None:
    said = committed()
    assert set(said) == set(SCENARIOS)
    assert all(tuple(answers) == SERVERS for answers in said.values())
    text = PAGE.read_text()
    in_order = {title: said[title] for title in SCENARIOS}
    assert render(in_order) == text[text.index(BEGIN) : text.index(END) + len(END)]


@pytest.mark.parametrize("name", ["waitress", "daphne"])
def test_a_server_that_spools_is_told_of_once(
    name: str, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(name, tmp_path_factory.mktemp("spooled") / "uploads") as server:
        for _ in range(3):
            server.client.create(5, b"hello")
    assert capfd.readouterr().err.count(f"{name} gathers a body before it passes it on") == 1


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-gthread"])
def test_of_other_servers_nothing_is_said(
    name: str, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(name, tmp_path_factory.mktemp("streamed") / "uploads") as server:
        server.client.create(5, b"hello")
    assert "gathers a body" not in capfd.readouterr().err
