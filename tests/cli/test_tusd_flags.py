"""The table of tusd's flags in docs/command.md, held against our options and, where it is installed, tusd's help."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tuspy_server.cli.command import command
from tuspy_server.cli.values import Kind

PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text()
ROWS = re.findall(r"^\| `([\w-]+)` \| (same|left out|`--[\w-]+`) \| (.*?) ?\|$", PAGE, re.MULTILINE)
TABLE = {name: (here, remark) for name, here, remark in ROWS}
OPTIONS = {opt: param for param in command().params for opt in param.opts}
OTHER_DEFAULT = {"s3-part-size", "verbose"}


def test_the_table_has_no_row_that_is_not_understood() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == len(TABLE) > 70


@pytest.mark.parametrize(("name", "here", "remark"), ROWS)
def test_a_row_is_true(name: str, here: str, remark: str) -> None:
    if here == "left out":
        assert f"--{name}" not in OPTIONS
        assert remark
    else:
        assert (f"--{name}" if here == "same" else here.strip("`")) in OPTIONS


@pytest.fixture(scope="module")
def tusd_help() -> str:
    go = shutil.which("go")
    folder = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True).stdout.strip() if go else ""
    found = shutil.which("tusd") or shutil.which("tusd", path=f"{folder}/bin")
    if found is None:
        pytest.skip("tusd is not installed")
    done = subprocess.run([found, "-help"], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_every_flag_of_tusd_is_in_the_table(tusd_help: str) -> None:
    assert set(re.findall(r"^  -([\w-]+)", tusd_help, re.MULTILINE)) <= set(TABLE)


def test_defaults_are_those_of_tusd(tusd_help: str) -> None:
    for name, text in re.findall(r"^  -([\w-]+)[^\n]*\n[^\n]*\(default \"?([^\"\n]*?)\"?\)$", tusd_help, re.MULTILINE):
        if TABLE[name][0] == "same" and name not in OTHER_DEFAULT:
            assert _default(f"--{name}") == _read(f"--{name}", text), name


def _default(name: str) -> object:
    option = OPTIONS[name]
    found = option.get_default(click.Context(command()), call=True)
    return found[0] if isinstance(found, tuple) and option.multiple else found


def _read(name: str, text: str) -> object:
    option = OPTIONS[name]
    if isinstance(option, click.Option) and option.is_flag:
        return text == "true"
    kind = option.type
    return kind.read(text) if isinstance(kind, Kind) else kind.convert(text, option, None)
