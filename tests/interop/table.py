"""The capability tables of docs/servers.md: read, and written anew by `python -m tests.interop.table`.

What every server does is a list; what some do not has a row in a table, with a column for every server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.interop.observing import Observations
from tests.interop.scenarios import SCENARIOS, YES
from tests.servers.running import ROOT

PAGE = ROOT / "docs" / "servers.md"
BEGIN, END = "<!-- observed: begin -->", "<!-- observed: end -->"
SERVERS = (
    "uvicorn",
    "uvicorn-h11",
    "hypercorn-asyncio",
    "hypercorn-trio",
    "granian-asgi",
    "gunicorn-asgi",
    "gunicorn-gthread",
    "gunicorn-sync",
    "werkzeug",
    "cheroot",
    "granian-wsgi",
    "waitress",
    "daphne",
)

Observed = Mapping[str, Mapping[str, str]]  # by title, then by server


def render(observed: Observed) -> str:
    """The tables, between their markers."""
    common = [title for title, answers in observed.items() if set(answers.values()) == {YES}]
    lines = [BEGIN, "", "Every server:", "", *(f"- {title}" for title in common), "", "Some differ:", ""]
    lines += [f"| | {' | '.join(SERVERS)} |", "|---" * (len(SERVERS) + 1) + "|"]
    for title, answers in observed.items():
        if title not in common:
            lines.append(f"| {title} | {' | '.join(answers[server] for server in SERVERS)} |")
    return "\n".join([*lines, "", END])


def committed() -> dict[str, dict[str, str]]:
    """What docs/servers.md says, by title and server."""
    lines = _between(PAGE.read_text()).splitlines()
    found = {line.removeprefix("- "): dict.fromkeys(SERVERS, YES) for line in lines if line.startswith("- ")}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return found | {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def _between(text: str) -> str:
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def main() -> None:
    wanted = dict.fromkeys(SERVERS, tuple(SCENARIOS))
    with tempfile.TemporaryDirectory() as place, Observations(Path(place), wanted) as found:
        observed = {title: {name: found.of(name, title) for name in SERVERS} for title in SCENARIOS}
    text = PAGE.read_text()
    PAGE.write_text(text.replace(_between(text), render(observed)))


if __name__ == "__main__":
    main()
