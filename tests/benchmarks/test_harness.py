"""The benchmark harness itself: its arithmetic, its chart, and one tiny run from end to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.benchmarks import counts, gate, profile, pyload, report, scenarios, servers
from tests.benchmarks.__main__ import main
from tests.benchmarks.chart import Bar, Panel, svg
from tests.benchmarks.processes import cpu_of_stat, size_of_status, usage
from tests.benchmarks.runner import Run, measure, workplace
from tests.benchmarks.stats import Ratio, middle, percentile, ratio

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="process costs are read from /proc")


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 102)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile(values, 1.0) == 101.0
    assert percentile([], 0.5) == 0.0


def test_a_ratio_pairs_runs_of_the_same_round() -> None:
    assert ratio([2.0, 30.0, 9.0], [1.0, 10.0, 3.0]) == Ratio(3.0, 2.0, 3.0)


def test_a_failed_round_is_left_out_of_the_ratio() -> None:
    assert ratio([None, 4.0, 6.0], [1.0, None, 2.0]) == Ratio(3.0, 3.0, 3.0)
    assert ratio([None], [1.0]) is None


def test_the_middle_of_nothing_is_nothing() -> None:
    assert middle([None, None]) is None
    assert middle([None, 3.0]) == 3.0


def test_cpu_time_is_read_past_a_hostile_command_name() -> None:
    tick = os.sysconf("SC_CLK_TCK")
    stat = f"42 (a) b (c)) S 1 {'0 ' * 9}{tick} {2 * tick} {3 * tick} {4 * tick} 20 0"
    assert cpu_of_stat(stat) == 10.0


def test_memory_is_read_in_bytes() -> None:
    assert size_of_status("Name:\tx\nVmHWM:\t    12 kB\n", "VmHWM") == 12 * 1024
    assert size_of_status("Name:\tx\n", "VmHWM") == 0


@needs_proc
def test_a_childs_cost_counts_after_its_end() -> None:
    before = usage(os.getpid()).cpu
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert usage(os.getpid()).cpu > before


def test_every_server_appears_as_a_bar_with_its_label_escaped() -> None:
    text = svg([Panel("a < b", [Bar("x & y", 2.0, "2.00"), Bar("ours", 1.0, "1.00", "ours")])])
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{space}rect")]
    assert [node.text for node in root.iter(f"{space}text")] == ["a < b", "x & y", "2.00", "ours", "1.00"]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)


def test_a_chart_of_nothing_is_still_a_document() -> None:
    assert ElementTree.fromstring(svg([])).attrib["height"] == "32"


def test_rows_put_the_cheapest_first_and_failures_last() -> None:
    runs = {
        "dear": [Run(amount=1, cpu=3.0, wall=1)],
        "broken": [Run(failed="no answer")],
        "cheap": [Run(amount=1, cpu=1.0, wall=1)],
    }
    found = report.rows(runs, "dear")
    assert [row.server for row in found] == ["cheap", "dear", "broken"]
    assert found[0].cost_ratio == Ratio(1 / 3, 1 / 3, 1 / 3)
    assert "no answer" in report.table(scenarios.CASES[0], found, "dear")


def test_a_promise_that_was_not_measured_is_not_kept() -> None:
    promise = gate.Promise(case="large", server="ours", reference="bare", limit=1.25)
    good, dear = Run(amount=1, cpu=1.2, wall=1), Run(amount=1, cpu=1.3, wall=1)
    bare = [Run(amount=1, cpu=1.0, wall=1)]
    verdicts = [
        gate.judge({"large": {"ours": [run], "bare": bare}}, [promise])[0].kept
        for run in (good, dear, Run(failed="did not start"))
    ]
    assert verdicts == [True, False, False]


def test_memory_promises_are_in_mib() -> None:
    promise = gate.Promise(case="memory", server="ours", reference=None, limit=16)
    runs = {"memory": {"ours": [Run(amount=1, rss_added=17 << 20)]}}
    assert not gate.judge(runs, [promise])[0].kept


def test_counts_may_fall_but_not_rise() -> None:
    before = {"hops": 1.0, "package_calls": 100.0, "syscall:openat": 2.0}
    assert counts.growth("asgi/small", before, {"hops": 0.0, "package_calls": 50.0}, True) == []
    risen = counts.growth("asgi/small", before, {"hops": 2.0, "package_calls": 102.0, "syscall:fsync": 1.0}, True)
    assert [one.name for one in risen] == ["hops", "syscall:fsync"]


def test_python_calls_are_compared_only_under_the_same_python() -> None:
    assert counts.growth("asgi/small", {"calls": 10.0}, {"calls": 100.0}, False) == []
    assert len(counts.growth("asgi/small", {"calls": 10.0}, {"calls": 100.0}, True)) == 1


def test_file_calls_are_read_from_an_strace_summary() -> None:
    summary = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.000010           1        12         2 openat
 25.00    0.000005           1         7           futex
 25.00    0.000005           1         3           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000020           1        22         2 total
"""
    assert counts.parse_strace(summary) == {"openat": 12, "write": 3}


def test_names_that_nobody_has_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--server", "no-such-server"]) == 2
    assert main(["--scenario", "no-such-scenario"]) == 2
    assert "no-such-server" in capsys.readouterr().err


def test_a_star_names_a_family_of_servers() -> None:
    found = [server.name for server in servers.find(["bare-*", "bare-uvicorn", "tusd"])]
    assert found == ["bare-uvicorn", "bare-gunicorn", "tusd"]


def test_a_server_is_asked_only_for_what_it_can_do() -> None:
    nginx = servers.find(["nginx"])[0]
    assert [case.name for case in scenarios.CASES if case.suits(nginx)] == ["large", "small16", "small64", "parallel"]


@needs_proc
@pytest.mark.parametrize("case", ["large", "small16", "cycle", "deep/100GiB"])
def test_the_bare_server_is_measured_from_end_to_end(case: str) -> None:
    server = servers.find(["bare-uvicorn"])[0]
    if reason := server.missing():
        pytest.skip(reason)
    with workplace(scale=0.01) as bench:
        run = measure(next(one for one in scenarios.CASES if one.name == case), server, bench)
    assert run.failed is None
    assert run.wall > 0
    assert run.rss_peak > 0
    assert not bench.fast.exists()


@needs_proc
def test_the_python_load_generator_stands_in_for_the_compiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    server = servers.find(["bare-uvicorn"])[0]
    if reason := server.missing():
        pytest.skip(reason)
    with workplace(scale=0.01) as bench:
        assert bench.load[-1] == pyload.__name__
        runs = [measure(case, server, bench) for case in scenarios.cases(["large", "cycle", "slow"])]
    assert [run.failed for run in runs] == [None] * 4
    assert runs[3].slow_alive == 10


@needs_proc
def test_a_campaign_leaves_a_report_and_a_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "small16", "--server", "bare-uvicorn", "--reference", "bare-uvicorn"]
    assert main([*arguments, "--rounds", "1", "--scale", "0.02", "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["cases"]["small16"]["servers"][0]["rounds"] == 1
    assert ElementTree.parse(tmp_path / "chart.svg").getroot().tag.endswith("svg")
    assert "bare-uvicorn" in capsys.readouterr().out


def test_a_sample_belongs_to_the_innermost_layer() -> None:
    served = "serve (tuspy_server/cli/serve.py:50);run_asgi (uvicorn/protocols/http/httptools_impl.py:422)"
    app = f"{served};__call__ (tuspy_server/cli/front.py:69);_run_small (tuspy_server/asgi/__init__.py:140)"
    folded = [
        f"{app};create (tuspy_server/engine/creating.py:33);open (tuspy_server/stores/system.py:62) 3",
        f"{app};encode (tuspy_server/stores/record.py:105);dumps (json/__init__.py:231) 2",
        f"{app};send (uvicorn/protocols/http/httptools_impl.py:463) 4",
        f"{served} 1",
    ]
    assert profile.layers(folded) == {
        "store: system calls": 3,
        "store: Python": 2,
        "HTTP server, event loop, network": 5,
    }
