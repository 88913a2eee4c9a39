"""The `pixelmill` command. Each command loads what it needs when it runs, so that --help answers at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import click

from pixelmill import __version__
from pixelmill.errors import ImageRejected, PixelmillError, QueryError, SettingsError, SourceError, UnknownModel

DONE, FAILED, WRONG_USAGE, TOO_MANY_REFUSED = 0, 1, 2, 3

_COMMANDS = {
    "run": "run",
    "models": "models",
    "pull": "models",
    "weights": "weights",
    "report": "report",
    "info": "store",
    "quarantine": "store",
    "verify": "store",
    "compact": "store",
    "repair": "store",
    "export": "store",
    "search": "search",
    "ensemble": "ensemble",
    "serve": "serve",
    "bench": "bench",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"pixelmill.cli.{_COMMANDS[name]}"), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="pixelmill")
def cli() -> None:
    """Mill growing image collections into embedding matrices (HDF5), one row an image, one matrix a model."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 done but too many images were refused."""
    sys.exit(_exit_code(lambda: cli.main(arguments, standalone_mode=False)))


def _exit_code(command: Callable[[], Any]) -> int:
    try:
        code = command()
        return code if isinstance(code, int) else DONE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (UnknownModel, SettingsError, SourceError, QueryError, ImageRejected) as error:
        return _say(error, WRONG_USAGE)
    except PixelmillError as error:
        return _say(error, FAILED)
    except BrokenPipeError:
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. What was committed is kept; run again to go on.", err=True)
        return 130


def _say(error: PixelmillError, code: int) -> int:
    click.echo(f"Error: {str(error).encode(errors='backslashreplace').decode()}", err=True)
    return code
