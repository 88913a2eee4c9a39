"""Paths alone on stdout, for other tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from pixelmill.formatting import printable


def print_paths(paths: Sequence[str], *, end: str) -> None:
    """Each path byte by byte as the file system spells it; on a terminal, what that could take for a command is
    escaped."""
    if end == "\n" and any("\n" in path for path in paths):
        click.echo("A name holds a line break: -0 ends each with NUL instead.", err=True)
    escaped = sys.stdout.isatty() and end == "\n"
    told = "".join((printable(path) if escaped else path) + end for path in paths)
    click.echo(os.fsencode(told), nl=False)
