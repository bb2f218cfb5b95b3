"""The click command, and how it ends."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence

import click

from tuspy_server import __version__
from tuspy_server.cli import logs
from tuspy_server.cli.errors import SettingsError
from tuspy_server.cli.flags import FlagCommand, FlagOption
from tuspy_server.cli.operators import COMMANDS
from tuspy_server.cli.serve import serve
from tuspy_server.cli.settings import Settings, all_options
from tuspy_server.errors import TusError

NAME = "tuspy-server"
ENVIRONMENT = "TUSPY_SERVER"

BAD_ARGUMENTS = 2
TROUBLE = 1
INTERRUPTED = 130


def _serve(**values: object) -> int:
    settings = Settings.of(values)
    logs.configure(settings.logs.log_format, verbose=settings.logs.verbose)
    return serve(settings)


def command() -> click.Command:
    """The command with all its flags."""
    made = FlagCommand(
        NAME,
        params=[*all_options(), _config_option()],
        callback=_serve,
        help="Serve resumable uploads (tus 1.0.0) from a directory.",
        epilog=(
            f"Every flag may be set by an environment variable ({ENVIRONMENT}_UPLOAD_DIR is --upload-dir) and in the "
            "file of --config. What is given on the command line wins, then the environment, then the file. "
            "Commands beside serving, each with --help: " + ", ".join(COMMANDS) + "."
        ),
        context_settings={
            "auto_envvar_prefix": ENVIRONMENT,
            "help_option_names": ["-h", "--help"],
            "max_content_width": 100,
        },
    )
    return click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")(made)


def _config_option() -> click.Option:
    return FlagOption(
        ["--config"],
        heading="Other",
        type=click.Path(exists=True, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        metavar="FILE",
        help='TOML file of flags by name, as: max-size = "5GiB".',
    )


def _read_config(ctx: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Make the file's values the defaults. Raises UsageError for a file that is no TOML and for unknown names."""
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except tomllib.TOMLDecodeError as exc:
        raise click.UsageError(f"{path} is not valid TOML: {exc}") from exc
    values = {name.replace("-", "_"): value for name, value in given.items()}
    known = {each.name for each in all_options()}
    for name in values:
        if name not in known:
            raise click.UsageError(f"{path} sets {name.replace('_', '-')!r}, which is no flag")
    ctx.default_map = values


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; one sentence on standard error for whatever goes wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given and given[0] in COMMANDS else ""
    chosen = COMMANDS[name]([_config_option()], ENVIRONMENT) if name else command()
    try:
        code = chosen.main(given, prog_name=f"{NAME} {name}".strip(), standalone_mode=False)
    except click.ClickException as exc:
        return _say(exc.format_message(), BAD_ARGUMENTS)
    except SettingsError as exc:
        return _say(str(exc), BAD_ARGUMENTS)
    except (TusError, OSError) as exc:
        return _say(str(exc), TROUBLE)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _say(sentence: str, code: int) -> int:
    print(f"{NAME}: {' '.join(sentence.split())}", file=sys.stderr)
    return code
