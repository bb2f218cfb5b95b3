"""The clients from npm, for every test that drives one; and a word about each client after the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.clients import npm
from tests.interop.clients.outcomes import TOLD


@pytest.fixture(scope="session")
def npm_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `node_modules` is; see `tests.interop.clients.npm`."""
    return npm.installed(tmp_path_factory.getbasetemp() / "npm")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == TOLD:
                terminalreporter.write_line(str(text))
