"""The pages of docs/stores: every example builds an app, without asking the service anything yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.running import ROOT
from tuspy_server import ASGIApp

PAGES = sorted((ROOT / "docs" / "stores").glob("*.md"))
EXTRAS = {"s3": "boto3", "gcs": "google.cloud.storage", "azure": "azure.storage.blob"}


def examples() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            yield page.stem, code


@pytest.mark.parametrize(("page", "code"), list(examples()))
def test_an_example_builds_an_app(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page in EXTRAS:
        pytest.importorskip(EXTRAS[page])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    found: dict[str, object] = {}
    exec(compile(code, f"{page}.md", "exec"), found)
    assert isinstance(found["app"], ASGIApp)


def test_every_store_has_a_page() -> None:
    assert [page.stem for page in PAGES] == ["azure", "gcs", "limited", "s3"]
    assert {page for page, _ in examples()} == {page.stem for page in PAGES}
