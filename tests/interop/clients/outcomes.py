"""What a client's scenarios left, and how much of the client they used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.cli.command import Served

GONE = (404, 410)
TOLD = "told"  # the property of a test whose text is shown after the run


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario did: the options it used, the uploads it left by URL, and what failed.

    An upload is told by the SHA-256 of its bytes in hexadecimal; None for one that must be gone.
    """

    options: Sequence[str]
    left: Sequence[tuple[str, str | None]] = field(default=())
    failed: str | None = None

    def check(self, served: Served) -> None:
        """It did not fail, and the server holds just those bytes."""
        assert self.failed is None, self.failed
        for url, sha256 in self.left:
            status, _, body = served.request("GET", url, {})
            if sha256 is None:
                assert status in GONE
            else:
                assert (status, hashlib.sha256(body).hexdigest()) == (200, sha256)


def told(client: str, options: Iterable[str], outcomes: Mapping[str, Outcome]) -> str:
    """How many of a client's options ran, and each with the scenarios that ran it."""
    by_option = {
        option: [name for name, outcome in outcomes.items() if option in outcome.options] for option in options
    }
    ran = sum(bool(names) for names in by_option.values())
    lines = [f"{client}: {ran} of {len(by_option)} options ran, in {len(outcomes)} scenarios"]
    for option, names in by_option.items():
        lines.append(f"  {option:<30}{len(names):>3}  {', '.join(names[:2])}{' ...' if len(names) > 2 else ''}")
    return "\n".join(lines)
