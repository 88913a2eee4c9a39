"""Tables in a terminal that is too narrow for them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from pixelmill import catalog

COLUMNS = 80


def in_terminal(*arguments: str, columns: int = COLUMNS, **variables: str) -> list[str]:
    """The lines that a command shows in a terminal of so many columns."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | variables
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execve(sys.executable, [sys.executable, "-m", "pixelmill", *arguments], environment)
    shown = b""
    try:
        while chunk := os.read(terminal, 65_536):
            shown += chunk
    except OSError:
        pass  # the terminal's end, as Linux tells it
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    return shown.decode().splitlines()


@pytest.mark.parametrize("variables", [{}, {"COLUMNS": "1"}, {"COLUMNS": "many"}], ids=str)
def test_no_model_is_broken_in_two(variables: dict[str, str]) -> None:
    """The catalog at 80 columns, or what a variable makes of them."""
    shown = in_terminal("models", **variables)
    assert {name for line in shown for name in line.split()} >= set(catalog.names())


def test_wide_lines_are_left_to_the_terminal_only_where_one_name_is_longer() -> None:
    """What fits is put side by side, in no more than 80 columns."""
    assert max(map(len, in_terminal("models"))) <= COLUMNS


def test_a_table_that_fits_is_a_table() -> None:
    """In 200 columns the catalog has a heading, and a line a model."""
    shown = in_terminal("models", columns=200)
    assert any("model" in line and "licence" in line for line in shown)
    assert sum(line.strip().startswith("resnet18") for line in shown) == 1
