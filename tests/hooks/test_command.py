from __future__ import annotations

import json
import os
import select
import shlex
import sys
import time
from pathlib import Path

import pytest

from tests.hooks.samples import event
from tuspy_server.errors import RejectUpload, StopUpload
from tuspy_server.hooks.command import CommandHooks
from tuspy_server.hooks.payload import HookFailed, encode
from tuspy_server.models import HookResult

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")


def install(directory: Path, name: str, script: str, *, mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text(script)
    path.chmod(mode)
    return path


def shell(directory: Path, name: str, body: str) -> None:
    install(directory, name, f"#!/bin/sh\n{body}\n")


def python(directory: Path, name: str, body: str) -> None:
    install(directory, name, f"#!{sys.executable}\nimport json, os, sys\n{body}\n")


def test_the_executable_gets_the_payload_the_environment_and_the_directory(tmp_path: Path) -> None:
    python(
        tmp_path,
        "post-finish",
        "names = [n for n in os.environ if n.startswith('TUS_')] + ['INHERITED']\n"
        "told = {'payload': json.load(sys.stdin), 'cwd': os.getcwd(), 'env': {n: os.environ[n] for n in names}}\n"
        "json.dump(told, open('told.json', 'w'))",
    )
    os.environ["INHERITED"] = "yes"
    CommandHooks(tmp_path).invoke(event())
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["payload"] == encode(event())
    assert told["cwd"] == str(tmp_path)
    assert told["env"] == {
        "TUS_ID": "24e533e02ec3bc40c387f1a0e460e216",
        "TUS_SIZE": "11",
        "TUS_OFFSET": "4",
        "TUS_DELIVERY_ID": "24e533e0-post_finish",
        "INHERITED": "yes",
    }


def test_before_creation_the_environment_has_no_id(tmp_path: Path) -> None:
    shell(tmp_path, "pre-create", """printf '{"ChangeFileInfo": {"ID": "none%s-%s"}}' "$TUS_ID" "$TUS_SIZE" """)
    assert CommandHooks(tmp_path).invoke(event("pre_create", length=None)) == HookResult(id="none-0")


def test_a_missing_executable_and_an_empty_output_succeed(tmp_path: Path) -> None:
    shell(tmp_path, "post-create", "cat > /dev/null")
    hooks = CommandHooks(tmp_path)
    assert hooks.invoke(event("post_create")) is None
    assert hooks.invoke(event("pre_create")) is None


def test_what_is_printed_is_the_answer(tmp_path: Path) -> None:
    python(tmp_path, "pre-create", "print(json.dumps({'RejectUpload': True, 'HTTPResponse': {'StatusCode': 418}}))")
    shell(tmp_path, "post-receive", """echo '{"StopUpload": true}'""")
    hooks = CommandHooks(tmp_path)
    with pytest.raises(RejectUpload) as refusal:
        hooks.invoke(event("pre_create"))
    assert refusal.value.answer_status == 418
    with pytest.raises(StopUpload):
        hooks.invoke(event("post_receive"))


def test_an_executable_need_not_read_its_input(tmp_path: Path) -> None:
    shell(tmp_path, "post-finish", "exec <&-")
    assert CommandHooks(tmp_path).invoke(event(metadata={"long": "x" * 1_000_000})) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo full; exit 3", "unexpected return code 3 from hook post-finish: full"),
        ("kill -9 $$", "unexpected return code -9 from hook post-finish"),
        ("echo '{'", "failed to parse hook response: .* response was: {"),
        ("echo '[]'", "answer is not a JSON object"),
    ],
)
def test_failures_say_what_happened(tmp_path: Path, body: str, reason: str) -> None:
    shell(tmp_path, "post-finish", body)
    with pytest.raises(HookFailed, match=reason):
        CommandHooks(tmp_path).invoke(event())


def test_a_file_that_is_not_executable_is_a_failure(tmp_path: Path) -> None:
    install(tmp_path, "post-finish", "#!/bin/sh\n", mode=0o644)
    with pytest.raises(HookFailed, match=r"cannot run the hook .*post-finish: Permission denied"):
        CommandHooks(tmp_path).invoke(event())


def test_a_file_without_an_interpreter_is_a_failure(tmp_path: Path) -> None:
    install(tmp_path, "post-finish", "#!/nowhere/sh\n")
    with pytest.raises(HookFailed, match=r"cannot run the hook .*post-finish: No such file"):
        CommandHooks(tmp_path).invoke(event())


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes by pidfd (Linux)")
def test_after_the_timeout_nothing_it_started_runs_on(tmp_path: Path) -> None:
    pids = shlex.quote(str(tmp_path / "pids"))
    shell(tmp_path, "post-finish", f"sleep 300 & echo $! > {pids}; echo $$ >> {pids}; wait")
    started = time.monotonic()
    with pytest.raises(HookFailed, match=r"did not end within 0.5 seconds"):
        CommandHooks(tmp_path, timeout=0.5).invoke(event())
    assert time.monotonic() - started < 30
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        assert ends(pid)


def ends(pid: int) -> bool:
    """Whether a killed process is gone within 10 seconds; a kill takes effect a little later."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 10)[0])
    finally:
        os.close(fd)


def test_the_directory_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere' does not exist"):
        CommandHooks(tmp_path / "nowhere")
