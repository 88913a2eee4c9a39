"""Help in groups: commands and options stand under what they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from pixelmill.cli.common import Commands

Groups = Mapping[str, Sequence[str]]
"""Titles, each with the names of its commands, or of the options' parameters."""

_WHOLE = 100
"""Characters of a summary: none is cut off, and on a narrow terminal it goes on in the next line."""


class GroupedCommands(Commands):
    """A group of commands whose help shows `groups`, each with its title."""

    groups: Groups

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.groups.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self.list_commands(ctx)))
        for title, names in self.groups.items():
            commands = [command for name in names if (command := self.get_command(ctx, name))]
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{command.name:{longest}}", command.get_short_help_str(_WHOLE)) for command in commands]
                )


class GroupedCommand(click.Command):
    """A command whose help shows its options by `groups`; those of no group stand at the end."""

    def __init__(self, *args: Any, groups: Groups = {}, **named: Any) -> None:  # noqa: B006 - not changed
        super().__init__(*args, **named)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        told = {option.name: row for option in options if (row := option.get_help_record(ctx))}
        for title, names in self.groups.items():
            with formatter.section(title):
                formatter.write_dl([told.pop(name) for name in names])
        with formatter.section("Options" if not self.groups else "Others"):
            formatter.write_dl(list(told.values()))
