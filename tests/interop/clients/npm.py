"""The clients from npm: installed once in a test run, or taken from where TUSPY_NPM says that they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).with_name("package.json")
INSTALL = ("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix")


def installed(cache: Path) -> Path:
    """The directory whose node_modules holds what package.json names; skips the test where that cannot be had.

    `cache` is where the packages are put if TUSPY_NPM is not set; what is there already stays.
    """
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if given := os.environ.get("TUSPY_NPM"):
        return Path(given)
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    if not (cache / "node_modules").exists():
        cache.mkdir(exist_ok=True)
        shutil.copy(PACKAGES, cache)
        try:
            subprocess.run([*INSTALL, cache], check=True, capture_output=True, timeout=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            shutil.rmtree(cache / "node_modules", ignore_errors=True)
            pytest.skip("npm cannot install the clients")
    return cache


def node(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a program in node to its end; its errors go to pytest's."""
    return subprocess.run(["node", *arguments], stdout=subprocess.PIPE, text=True, timeout=timeout)
