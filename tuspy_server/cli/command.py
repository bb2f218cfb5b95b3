"""The click command, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tuspy_server import __version__
from tuspy_server.cli import logs
from tuspy_server.cli.build import SettingsError
from tuspy_server.cli.flags import FlagCommand
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
    logs.configure(settings.logging.log_format)
    return serve(settings)


def command() -> click.Command:
    """The command with all its flags."""
    made = FlagCommand(
        NAME,
        params=list(all_options()),
        callback=_serve,
        help="Serve resumable uploads (tus 1.0.0) from a directory.",
        epilog=f"Every flag may be set by an environment variable: {ENVIRONMENT}_UPLOAD_DIR is --upload-dir.",
        context_settings={
            "auto_envvar_prefix": ENVIRONMENT,
            "help_option_names": ["-h", "--help"],
            "max_content_width": 100,
        },
    )
    return click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")(made)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; one sentence on standard error for whatever goes wrong."""
    try:
        code = command().main(arguments, prog_name=NAME, standalone_mode=False)
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
