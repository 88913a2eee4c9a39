"""The `pixelmill` command. Each command loads what it needs when it runs, so that --help answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pixelmill.cli.completion import VARIABLE, settle_completion
from pixelmill.cli.help import Commands
from pixelmill.cli.ours import prefer_ours
from pixelmill.cli.signals import exit_code, heard, say_stopped
from pixelmill.cli.surroundings import leave_streams, settle_home, settle_streams, though_unheard, use_utf8
from pixelmill.descriptors import admit_files
from pixelmill.errors import (
    ImageRejected,
    PixelmillError,
    QueryError,
    SettingsError,
    SourceError,
    UnknownColumn,
    UnknownModel,
)
from pixelmill.proxies import settle_proxies
from pixelmill.version import VERSION

DONE, FAILED, WRONG_USAGE, TOO_MANY_REFUSED = 0, 1, 2, 3
STOPPED = 128
"""And the number of the signal."""

_GROUPS = {
    "Run": ("run", "deliver", "report"),
    "Look": ("search", "serve", "info", "quarantine", "export", "ensemble", "evaluate"),
    "Curate": ("duplicates", "outliers", "clusters"),
    "Models and weights": ("models", "pull", "weights", "bench"),
    "Store care": ("verify", "compact", "repair", "backup", "forget"),
    "Shell": ("completion",),
}
_FILES = {
    "pull": "models",
    **dict.fromkeys(("quarantine", "verify", "compact", "repair", "backup", "export"), "store"),
}
"""Where a command is, if not in the file of its name."""


class _Lazy(Commands):
    groups = _GROUPS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.groups.values() for name in names]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(importlib.import_module(f"pixelmill.cli.{_FILES.get(name, name)}"), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="pixelmill")
def cli() -> None:
    """Mill growing image collections into embedding matrices (HDF5), one row an image, one matrix a model."""
    try:
        Path.cwd()
    except OSError as error:
        raise click.UsageError(
            f"Expected a working directory. The one that this was started in cannot be used: {error.strerror}. "
            "Go to another."
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 done but too many images were refused, 128 and
    a signal's number when it was stopped by one."""
    if arguments is None:
        use_utf8()
    admit_files()
    settle_streams()
    settle_proxies(os.environ)
    settle_home()
    prefer_ours()
    if VARIABLE in os.environ:
        settle_completion()
    code = _exit_code(lambda: cli.main(arguments, standalone_mode=False))
    if "pixelmill.watch.hangs" in sys.modules:  # nothing hangs where nothing was watched
        from pixelmill.watch.exit import leave_process

        leave_process(code, at_once=code >= STOPPED)
    sys.exit(code)


def _exit_code(command: Callable[[], Any]) -> int:
    try:
        with heard():
            code = _uninterrupted(command)
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt as stop:
        say_stopped()
        return exit_code(stop)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        with though_unheard():
            error.show()
        return error.exit_code
    except (UnknownModel, UnknownColumn, SettingsError, SourceError, QueryError, ImageRejected) as error:
        return _say(str(error), WRONG_USAGE)
    except PixelmillError as error:
        return _say(str(error), FAILED)
    except OSError as error:  # a disk, a permission, a full stdout: nothing that a traceback would explain
        leave_streams()
        place = error.filename or "what was printed, or a file without a name"
        return _say(f"{error.strerror or error}: {place}.", FAILED)


def _uninterrupted(command: Callable[[], Any]) -> Any:
    try:
        return command()
    except click.Abort as stop:  # what click makes of KeyboardInterrupt
        raise stop.__cause__ if isinstance(stop.__cause__, KeyboardInterrupt) else KeyboardInterrupt from None
    except OSError as error:  # click's line break for it finds the terminal closed
        raise error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error from None


def _say(words: str, code: int) -> int:
    with though_unheard():
        click.echo(f"Error: {words.encode(errors='backslashreplace').decode()}", err=True)
    return code
