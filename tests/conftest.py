"""What every test may use: backends of anyio, and a word about what a test needs.

`@pytest.mark.needs("redis-server")` skips a test where that program is not on the PATH. A machine that promises a
thing says so in TUSPY_REQUIRE ("redis-server,etcd,node", or a module's name): there a skip whose reason names it
fails, whoever skipped.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator

import pytest

_REQUIRED = [name for name in re.split(r"[,\s]+", os.environ.get("TUSPY_REQUIRE", "")) if name]


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Tests marked with `anyio` run once on each."""
    name: str = request.param
    return name


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*programs): skip where one of these programs is not installed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            if shutil.which(program) is None and shutil.which(program, path="/usr/sbin:/usr/local/sbin") is None:
                pytest.skip(f"{program} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _refuse_broken_promise(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _refuse_broken_promise(report)
    return report


def _refuse_broken_promise(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    for name in _REQUIRED:
        if re.search(rf"\b{re.escape(name)}\b", reason, re.IGNORECASE):
            report.outcome = "failed"
            report.longrepr = f"{name} is promised by TUSPY_REQUIRE, but: {reason}"
            return
