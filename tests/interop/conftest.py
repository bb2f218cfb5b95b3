"""The clients from npm, for every test that drives one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.clients import npm


@pytest.fixture(scope="session")
def npm_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `node_modules` is; see `tests.interop.clients.npm`."""
    return npm.installed(tmp_path_factory.getbasetemp() / "npm")
