"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import gate, profile, report
from tests.benchmarks.chart import Bar, Panel, svg
from tests.benchmarks.runner import Bench, Results, campaign, workplace
from tests.benchmarks.scenarios import CASES, SCENARIOS, Case, cases
from tests.benchmarks.servers import OPTIONAL, SERVERS, Server, find

_OUTPUT = Path("build/benchmarks")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    found.add_argument("action", nargs="?", choices=["run", "gate", "profile", "list"], default="run")
    found.add_argument("--scenario", action="append", metavar="NAME", help="repeatable; all of them by default")
    found.add_argument(
        "--server", action="append", metavar="NAME", help="repeatable, NAME* for several; the standard ones by default"
    )
    found.add_argument("--optional", action="store_true", help="also other Python servers, @tus/server and nginx")
    found.add_argument("--reference", default="tusd", help="the server that ratios compare with")
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--scale", type=float, default=1.0, help="share of the work, for a quick look")
    found.add_argument("--disk", type=Path, help="a directory on a real file system, for the durability scenario")
    found.add_argument("--output", type=Path, default=_OUTPUT, help="where results.json and the pictures go")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # servers end, files go, as after ^C
    try:
        chosen = cases(options.scenario or list(SCENARIOS))
        servers = find(options.server) if options.server else [*SERVERS, *(OPTIONAL if options.optional else ())]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if options.action == "list":
        return list_all()
    with workplace(options.scale, options.disk) as bench:
        if options.action == "gate":
            return run_gate(options.rounds, bench)
        if options.action == "profile":
            return run_profile(bench, options.output)
        results = campaign(chosen, available(servers), options.rounds, bench, _tell)
    publish(chosen, results, options.reference, options.output)
    return 0


def available(servers: Sequence[Server]) -> list[Server]:
    """Those that can be started here; the others are named with the reason."""
    found = []
    for server in servers:
        if reason := server.missing():
            _tell(f"without {server.name}: {reason}")
        else:
            found.append(server)
    return found


def list_all() -> int:
    for case in CASES:
        print(f"{case.scenario:12} {case.name:24} {case.title}")
    print()
    for server in SERVERS + OPTIONAL:
        print(f"{server.name:20} {server.missing() or 'available'}")
    return 0


def run_gate(rounds: int, bench: Bench) -> int:
    """0 if every promise was kept, 1 if one was broken or could not be measured."""
    wanted = {promise.case for promise in gate.PROMISES}
    chosen = [case for case in CASES if case.name in wanted]
    names = {name for promise in gate.PROMISES for name in (promise.server, promise.reference) if name}
    results = campaign(chosen, available(find(sorted(names))), rounds, bench, _tell)
    verdicts = gate.judge(results)
    for verdict in verdicts:
        print(f"{'kept  ' if verdict.kept else 'BROKEN'}  {verdict.text}")
    return 0 if all(verdict.kept for verdict in verdicts) else 1


def run_profile(bench: Bench, output: Path) -> int:
    """Print the shares; write profile.svg."""
    if reason := profile.missing():
        print(reason, file=sys.stderr)
        return 1
    shares = profile.shares(profile.sampled(bench))
    for name, share in shares:
        print(f"{share:5.1%}  {name}")
    output.mkdir(parents=True, exist_ok=True)
    (output / "profile.svg").write_text(svg([profile.panel(shares)]))
    print(output / "profile.svg")
    return 0


def publish(chosen: Sequence[Case], results: Results, reference: str, output: Path) -> None:
    """Print the tables; write results.json and chart.svg."""
    output.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in chosen if results[case.name]]
    for case in chosen:
        print(f"\n{report.table(case, report.rows(results[case.name], reference), reference)}")
    report.write_json(output / "results.json", chosen, results, reference)
    panels = [panel(case, report.rows(results[case.name], reference), reference) for case in chosen]
    (output / "chart.svg").write_text(svg([one for one in panels if one.bars]))
    print(f"\n{output / 'results.json'}\n{output / 'chart.svg'}")


def panel(case: Case, found: Sequence[report.Row], reference: str) -> Panel:
    bars = [_bar(case, row, reference) for row in found if row.cost is not None]
    unit = "CPU seconds per GiB" if case.unit == "GiB" else f"CPU microseconds per {case.unit}"
    return Panel(f"{case.title}: {unit}", bars)


def _bar(case: Case, row: report.Row, reference: str) -> Bar:
    cost = row.cost or 0.0
    value = f"{cost:.2f}" if case.unit == "GiB" else f"{cost * 1e6:.0f}"
    if row.cost_ratio:
        value += f"  ({row.cost_ratio.median:.2f} x)"
    kind = "reference" if row.server == reference else "ours" if row.server.startswith("ours") else "other"
    return Bar(row.server, cost, value, kind)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
