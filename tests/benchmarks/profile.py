"""Where the time of a small request goes: samples of the command under load, by layer.

`python -m tests.benchmarks profile` prints the shares and draws them. py-spy stops the process now and then and looks
at its stack; the sample belongs to the innermost frame that is of a layer, with whatever that frame called in C and in
the kernel.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.chart import Bar, Panel
from tests.benchmarks.loadgen import Load
from tests.benchmarks.processes import pinned
from tests.benchmarks.runner import LOAD_CORE, Bench, running
from tests.benchmarks.scenarios import CASES, Target
from tests.benchmarks.servers import Place, find
from tests.servers.ports import free_port

_RATE = 500  # samples a second
_SERVER = "HTTP server, event loop, network"
#: Paths below the package, of which the first that fits counts, and what they are called.
_LAYERS = (
    ("stores/system.py", "store: system calls"),
    ("stores/", "store: Python"),
    ("engine/", "engine"),
    ("runtime.py", "engine"),
    ("callers.py", "engine"),
    ("protocol/", "protocol"),
    ("models.py", "protocol"),
    ("asgi/", "ASGI adapter"),
    ("gauge.py", "ASGI adapter"),
    ("cli/", "access log"),
)


def layers(folded: Iterable[str]) -> Counter[str]:
    """Samples by layer from py-spy's raw form: `name (file:line);...;name (file:line) count`, outermost first."""
    found: Counter[str] = Counter()
    for line in folded:
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(" (")[2].partition(":")[0] for frame in stack.split(";")]
        found[_layer(reversed(frames))] += int(count)
    return found


def _layer(files: Iterable[str]) -> str:
    """The layer of a stack, given its files from the innermost frame outwards."""
    for file in files:
        if file.startswith("uvicorn/"):
            break
        layer = next((name for start, name in _LAYERS if file.startswith(f"tuspy_server/{start}")), None)
        if layer is not None:
            return layer
    return _SERVER


def shares(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """The largest first; together 1."""
    total = sum(counts.values())
    return sorted(((name, count / total) for name, count in counts.items()), key=lambda share: -share[1])


def panel(found: Sequence[tuple[str, float]]) -> Panel:
    bars = [Bar(name, share, f"{share:.0%}", "ours") for name, share in found]
    return Panel("Where the time of a 16 KiB creation-with-upload goes, of the command", bars)


def missing() -> str | None:
    """Why nothing can be sampled here."""
    return None if _spy() else "no py-spy: pip install py-spy"


def _spy() -> str | None:
    return shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def sampled(bench: Bench) -> Counter[str]:
    """Samples by layer while the command takes small uploads. Raises LoadFailed, RuntimeError, OSError."""
    (case,) = (case for case in CASES if case.name == "small16")
    (server,) = find(["ours-command"])
    place = Place(port=free_port(), directory=Path(tempfile.mkdtemp(dir=bench.fast)))
    with running(server, place) as process, pinned(LOAD_CORE):
        plan = case.prepare(Target(server=server, place=place, body=bench.body), bench.scale)
        where = ["--port", str(place.port), "--path", server.path, "--body", str(bench.body)]
        output = bench.fast / "samples"
        with Load(bench.load, [*where, *plan.arguments]) as load, _spying(process.pid, output) as spy:
            result = load.run(lambda: None)
            spy.send_signal(signal.SIGINT)
            spy.wait(timeout=60)
    if result.errors:
        raise RuntimeError(f"{result.errors} errors, first: {result.error}")
    return layers(output.read_text().splitlines())


def _spying(pid: int, output: Path) -> subprocess.Popen[bytes]:
    options = ["--format", "raw", "--rate", str(_RATE), "--output", str(output), "--pid", str(pid)]
    options += ["--duration", "600", "--nonblocking"]
    return subprocess.Popen([_spy() or "py-spy", "record", *options], stdout=subprocess.DEVNULL)
