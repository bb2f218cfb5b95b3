"""Hooks as executables in a directory, one file for each event, called as tusd calls them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tuspy_server.hooks.payload import DEFAULT_EVENTS, HookFailed, wire_name
from tuspy_server.hooks.transport import DescribeStorage, Transport, excerpt, parse_answer
from tuspy_server.models import HookEvent


class CommandHooks(Transport):
    """Runs `<directory>/<event>`; an event without a file succeeds.

    The executable starts in the directory with the payload on its standard input and TUS_ID, TUS_SIZE, TUS_OFFSET
    and TUS_DELIVERY_ID in its environment; its standard error is ours. Nothing on standard output is an empty
    answer, another exit code than 0 a failure. After `timeout` seconds it is killed with all it started.
    Raises ValueError if the directory does not exist.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        events: Iterable[str] = DEFAULT_EVENTS,
        timeout: float | None = 60.0,
        describe_storage: DescribeStorage | None = None,
    ) -> None:
        super().__init__(events, describe_storage=describe_storage)
        self.directory = Path(directory).resolve()
        self._timeout = timeout
        if not self.directory.is_dir():
            raise ValueError(f"the hooks directory {str(directory)!r} does not exist")

    def deliver(self, event: HookEvent, payload: Mapping[str, object]) -> object:
        executable = self._executable(event)
        if executable is None:
            return None
        code, output = self._run(executable, json.dumps(payload).encode(), _environment(event))
        if code != 0:
            raise HookFailed(f"unexpected return code {code} from hook {executable.name}: {excerpt(output)}")
        return parse_answer(output)

    def _executable(self, event: HookEvent) -> Path | None:
        path = self.directory / wire_name(event.type)
        if os.name == "nt":
            # Windows runs files by their extension, which PATHEXT lists
            found = shutil.which(path.name, path=str(self.directory))
            return None if found is None else Path(found)
        return path if path.exists() else None

    def _run(self, executable: Path, payload: bytes, environment: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            process = subprocess.Popen(
                [str(executable)],
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            raise HookFailed(f"cannot run the hook {executable}: {exc.strerror or exc}") from exc
        with process:
            try:
                output, _ = process.communicate(payload, timeout=self._timeout)
            except subprocess.TimeoutExpired as exc:
                raise HookFailed(f"the hook {executable.name} did not end within {self._timeout} seconds") from exc
            finally:
                if process.returncode is None:
                    _kill(process)
        return process.wait(), output


def _environment(event: HookEvent) -> dict[str, str]:
    info = event.upload
    return {
        "TUS_ID": "" if event.type == "pre_create" else info.id,
        "TUS_SIZE": str(info.length or 0),
        "TUS_OFFSET": str(info.offset),
        "TUS_DELIVERY_ID": event.delivery_id,
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
