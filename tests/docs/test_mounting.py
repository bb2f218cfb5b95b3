"""docs/mounting.md shows the code that the tests run, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.docs.examples import EXAMPLES
from tests.servers.running import ROOT

PAGE = (ROOT / "docs" / "mounting.md").read_text()
SHOWN = re.findall(r"^From \[[^\]]*\]\(examples/([\w/]+\.\w+)\):\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_is_cut_from_an_example() -> None:
    assert len(SHOWN) == PAGE.count("```") / 2


@pytest.mark.parametrize(("name", "code"), SHOWN, ids=[name for name, _ in SHOWN])
def test_a_block_is_the_examples_own_code(name: str, code: str) -> None:
    assert f"\n{code}" in (EXAMPLES / name).read_text()


def test_every_example_that_is_named_is_there() -> None:
    assert all((EXAMPLES / name).exists() for name in re.findall(r"\(examples/([\w./]+)\)", PAGE))
