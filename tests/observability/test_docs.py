"""docs/metrics.md and docs/grafana.json against a scrape, and against tusd's own where it is installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.adapters.test_queues import APPEND, TUS, whole_life_sync
from tests.hooks.test_tusd import program
from tests.hooks.uploads import tusd
from tuspy_server import HookEvent, Hooks, MemoryStore, WSGIApp
from tuspy_server.observability.prometheus import PrometheusMetrics

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text()
ROWS = re.findall(r"^\| (`\w+`|none) \| (`\w+`|none) \| (.*?) \|$", PAGE, re.MULTILINE)
RUNTIME = ("go_", "process_", "promhttp_", "python_")
PARTS = ("_bucket", "_count", "_sum")


def scraped_names() -> set[str]:
    """The names of a real scrape after an upload with hooks and a refusal, those of a histogram as one."""

    def note(event: HookEvent) -> None:
        pass

    metrics = PrometheusMetrics()
    app = WSGIApp(MemoryStore(), hooks=Hooks(pre_finish=note), observers=[metrics])
    whole_life_sync(app)
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        client.patch("/unknown", headers={**APPEND, **TUS, "Upload-Offset": "0"}, content=b"x")
    return families(metrics.scrape()[0].decode())


def families(page: str) -> set[str]:
    names = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    told = {family_of(name) for name in names if not name.endswith("_created")}
    return {name for name in told if not name.startswith(RUNTIME)}


def family_of(name: str) -> str:
    return next((name.removesuffix(part) for part in PARTS if name.endswith(part)), name)


def test_the_table_has_every_metric_of_ours() -> None:
    assert {ours.strip("`") for _, ours, _ in ROWS if ours != "none"} == scraped_names()


@pytest.mark.parametrize(("theirs", "ours", "remark"), ROWS)
def test_a_row_says_what_became_of_tusds_metric(theirs: str, ours: str, remark: str) -> None:
    if theirs == ours:
        assert remark.startswith("same")
    elif ours == "none":
        assert remark.startswith("left out: ")
    elif theirs != "none":
        assert remark.startswith("renamed: ")


def test_the_table_has_every_metric_of_tusd(tmp_path: Path) -> None:
    with tusd(program(), tmp_path, "-hooks-http", "http://127.0.0.1:1/") as (url, _):
        page = httpx.get(url.replace("/files/", "/metrics")).text
    listed = {theirs.strip("`") for theirs, _, _ in ROWS}
    assert {name for name in re.findall(r"^# TYPE (\w+)", page, re.MULTILINE) if not name.startswith(RUNTIME)} <= listed


def test_the_dashboard_shows_what_a_scrape_has() -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {family_of(name) for text in expressions for name in re.findall(r"\btusd?_\w+", text)}
    assert shown
    assert shown <= scraped_names()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
def test_the_code_in_the_docs_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/metrics.md", "exec"), {"__name__": "docs"})
