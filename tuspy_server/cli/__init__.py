"""The `tuspy-server` command.

`flags` turns dataclass fields into click options, `settings` declares them all, `build` makes an app of them,
`serve` and `workers` run it, `front` stands before it, `logs` writes what happens.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 after a graceful stop, 2 for bad arguments, 1 for other trouble."""
    try:
        from tuspy_server.cli.command import run
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "httptools", "uvicorn"):
            raise
        print(f"tuspy-server: {exc.name} is missing: pip install 'tuspy-server[server]'", file=sys.stderr)
        return 1
    return run(arguments)
