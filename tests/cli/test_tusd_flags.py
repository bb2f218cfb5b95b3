"""The tables of docs/flags.md, held against our options and, where it is installed, tusd's help."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tuspy_server.cli.command import command
from tuspy_server.cli.values import Kind

ROOT = Path(__file__).parents[2]
PAGE, _, REST = (ROOT / "docs" / "flags.md").read_text().partition("## Flags that are ours alone")
OURS, _, VARIABLES = REST.partition("## Environment variables")
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


def test_every_flag_of_ours_is_on_the_page_with_its_variable() -> None:
    ours = dict(re.findall(r"^\| `(--[\w-]+)` \| (.*?) \|$", OURS, re.MULTILINE))
    for name, shown in ours.items():
        assert shown == ("none" if name == "--config" else f"`TUSPY_SERVER_{name[2:].upper().replace('-', '_')}`")
    tusds = {f"--{name}" if here == "same" else here.strip("`") for name, here, _ in ROWS if here != "left out"}
    assert not tusds & set(ours)
    assert {param.opts[0] for param in command().params} == tusds | set(ours)


def test_environment_variables_that_are_the_same_are_read() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (same|left out) \| (.*?) ?\|$", VARIABLES, re.MULTILINE)
    source = "".join(path.read_text() for path in (ROOT / "tuspy_server").rglob("*.py"))
    for name, here, remark in rows:
        assert here == "same" or remark
        if here == "same" and not name.startswith("AWS_"):  # boto3 reads those
            assert name in source


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
