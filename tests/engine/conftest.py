from __future__ import annotations

from typing import cast

import pytest

from tests.engine.client import EngineClient, Runner


@pytest.fixture(params=["run_sync", "asyncio", "trio"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return cast(Runner, request.param)


@pytest.fixture
def client(runner: Runner) -> EngineClient:
    return EngineClient(runner=runner)
