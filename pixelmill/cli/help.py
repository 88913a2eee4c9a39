"""Help in groups: commands and options stand under what they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

from pixelmill.errors import nearest

Groups = Mapping[str, Sequence[str]]
"""Titles, each with the names of its commands, or of the options' parameters."""


class Commands(click.Group):
    """A group whose answer to an unknown command is the nearest one, and whose help cuts no summary off."""

    groups: Groups = MappingProxyType({})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}.{nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        longest = max(map(len, names))
        for title, members in (self.groups or {"Commands": names}).items():
            commands = [command for name in members if (command := self.get_command(ctx, name))]
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{command.name:{longest}}", command.get_short_help_str(_WHOLE)) for command in commands]
                )


_WHOLE = 200
"""More characters than any summary has."""


class GroupedCommand(click.Command):
    """A command whose help shows its options by `groups`; those of no group stand at the end."""

    def __init__(self, *args: Any, groups: Groups, **named: Any) -> None:
        super().__init__(*args, **named)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        told = {option.name: row for option in options if (row := option.get_help_record(ctx))}
        for title, names in self.groups.items():
            with formatter.section(title):
                formatter.write_dl([told.pop(name) for name in names])
        with formatter.section("Others"):
            formatter.write_dl(list(told.values()))
