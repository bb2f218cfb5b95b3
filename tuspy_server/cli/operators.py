"""The operator's commands as click knows them: which flags each takes, and what it calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import click

from tuspy_server.cli import checking, operating, verifying
from tuspy_server.cli.flags import FlagCommand, FlagOption, options
from tuspy_server.cli.hook_settings import CommandHook, GrpcHook, HookEvents, HttpHook, PluginHook
from tuspy_server.cli.settings import Settings, Uploads
from tuspy_server.cli.storage_settings import S3, Azure, Files, Gcs, Locks, Space
from tuspy_server.cli.values import DURATION

Make = Callable[[Sequence[click.Parameter], str], click.Command]

_STORAGE = (Files, S3, Gcs, Azure, Space, Locks)
_REMOVAL = (*_STORAGE, Uploads, HookEvents, CommandHook, HttpHook, GrpcHook, PluginHook)


def _own(*names: str, **settings: Any) -> click.Option:
    """A flag of one command: no environment variable, no line in the file."""
    return FlagOption(names, heading="This command", allow_from_autoenv=False, **settings)


def _json() -> click.Option:
    return _own("--json", "as_json", is_flag=True, help="Print an object per line.")


def _maker(
    name: str, text: str, act: Callable[..., int], own: Callable[[], list[click.Parameter]], groups: Sequence[type]
) -> Make:
    """Makes a command. `act` is called with Settings and the command's own flags by name."""

    def make(shared: Sequence[click.Parameter], environment: str) -> click.Command:
        mine = own()

        def call(**values: object) -> int:
            logging.basicConfig(format="%(levelname)s %(message)s")  # to standard error
            return act(Settings.of(values), **{str(each.name): values[str(each.name)] for each in mine})

        return FlagCommand(
            name,
            params=[*mine, *(each for group in groups for each in options(group)), *shared],
            callback=call,
            help=text,
            context_settings={
                "auto_envvar_prefix": environment,
                "help_option_names": ["-h", "--help"],
                "max_content_width": 100,
            },
        )

    return make


def _uploads(settings: Settings, state: tuple[str, ...], older_than: float, newer_than: float, as_json: bool) -> int:
    return operating.uploads(settings, operating.Wanted(state, older_than, newer_than), as_json=as_json)


def _uploads_own() -> list[click.Parameter]:
    return [
        _own(
            "--state",
            multiple=True,
            type=click.Choice(list(operating.states())),
            help="Only in this state; repeatable.",
        ),
        _own("--older-than", type=DURATION, default=0.0, help="Only those created longer ago than this, as 7d."),
        _own("--newer-than", type=DURATION, default=0.0, help="Only those created no longer ago than this."),
        _json(),
    ]


def _rm_own() -> list[click.Parameter]:
    return [
        click.Argument(["upload_ids"], nargs=-1, required=True, metavar="ID..."),
        _own("--now", is_flag=True, help="Keep no tombstone: answer 404 at once instead of 410."),
    ]


def _check(settings: Settings, url: str, header: tuple[str, ...], timeout: float, insecure: bool) -> int:
    return checking.check(url, header, timeout=timeout, insecure=insecure)


def _check_own() -> list[click.Parameter]:
    return [
        click.Argument(["url"], metavar="URL"),
        _own("--header", multiple=True, metavar="'NAME: VALUE'", help="Send with every request; repeatable."),
        _own("--timeout", type=DURATION, default=10.0, help="How long to wait for one thing. [default: 10s]"),
        _own("--insecure", is_flag=True, help="Trust any certificate."),
    ]


COMMANDS: dict[str, Make] = {
    "uploads": _maker("uploads", "List uploads.", _uploads, _uploads_own, _STORAGE),
    "show": _maker(
        "show",
        "Show one upload.",
        operating.show,
        lambda: [click.Argument(["upload_id"], metavar="ID"), _json()],
        _STORAGE,
    ),
    "rm": _maker("rm", "Remove uploads.", operating.remove, _rm_own, _REMOVAL),
    "sweep": _maker(
        "sweep",
        "Remove what has expired and take up interrupted finishes, once.",
        operating.sweep,
        lambda: [_own("--dry-run", is_flag=True, help="Only say what would be done."), _json()],
        _REMOVAL,
    ),
    "verify": _maker(
        "verify",
        "Report what is damaged in a store; exit code 1 if anything is.",
        verifying.verify,
        lambda: [_own("--repair", is_flag=True, help="Mend it; bytes are set aside, never removed."), _json()],
        _STORAGE,
    ),
    "check": _maker("check", "Try a URL as clients use it, with what is in front of it.", _check, _check_own, ()),
}
