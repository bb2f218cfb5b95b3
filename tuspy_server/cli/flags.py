"""Flags declared as dataclass fields: `port: int = flag(8080, "Port to listen on.")` is `--port`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, cast

import click

from tuspy_server.cli.values import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """How a field is written on the command line."""

    help: str
    kind: click.ParamType[Any] | type | None
    multiple: bool
    metavar: str | None


def flag(
    default: T,
    help: str,
    *,
    kind: click.ParamType[Any] | type | None = None,
    multiple: bool = False,
    metavar: str | None = None,
) -> T:
    """A field that is a flag. Its name, with dashes, is the flag's; a bool has a `--no-` form too."""
    described = Flag(help=help, kind=kind, multiple=multiple, metavar=metavar)
    declared: Any = field(default=default, metadata={"flag": described})
    return cast(T, declared)


class FlagOption(click.Option):
    """An option that knows the heading it stands under in --help."""

    def __init__(self, names: Sequence[str], *, heading: str, **settings: Any) -> None:
        super().__init__(names, **settings)
        self.heading = heading


class FlagCommand(click.Command):
    """A command whose help lists its flags by heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "heading", "Other")
                headings.setdefault(heading, []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def options(group: type) -> Iterator[click.Option]:
    """The options of one group of flags: a dataclass with a `heading`."""
    for each in fields(group):
        if "flag" in each.metadata:
            yield _option(each, group.heading)  # type: ignore[attr-defined]  # a ClassVar of every group


def pick(group: type[T], values: Mapping[str, object]) -> T:
    """An instance of a group from parsed values, which may hold more than its own."""
    return group(**{each.name: values[each.name] for each in fields(cast(Any, group)) if each.name in values})


def flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(each: Field[Any], heading: str) -> click.Option:
    described: Flag = each.metadata["flag"]
    assert each.default is not MISSING
    is_switch = isinstance(each.default, bool)
    name = flag_name(each.name)
    return FlagOption(
        [f"{name}/--no-{name[2:]}" if is_switch else name, each.name],
        heading=heading,
        default=each.default,
        help=described.help + _default_text(each.default, described.kind),
        multiple=described.multiple,
        type=None if is_switch else described.kind,
        metavar=described.metavar,
    )


def _default_text(default: object, kind: object) -> str:
    if default in (None, "", (), False):
        return ""
    if default is True:
        return " [default: on]"
    if isinstance(default, tuple):
        return f" [default: {','.join(default)}]"
    return f" [default: {kind.show(default) if isinstance(kind, Kind) else default}]"
