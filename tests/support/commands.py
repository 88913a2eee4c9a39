"""Commands of pixelmill, run in this process."""

from __future__ import annotations

import pytest

from pixelmill.cli.main import main


def code(*arguments: str) -> int:
    """The exit code of a command run in this process."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)
