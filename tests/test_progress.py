"""What a person at a terminal sees of a run."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
import time

import pytest

from pixelmill import progress
from pixelmill.progress import be_still, step_shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_is_shown_until_the_process_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves while it runs; once someone has pressed Ctrl-C nothing more scrolls past what is said then."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_still", threading.Event())
    monkeypatch.setattr(sys, "stderr", terminal)
    with step_shown("Publishing", lambda: "part 3"):
        end = time.monotonic() + 20
        while terminal.getvalue().count("part 3") < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        be_still()
        time.sleep(0.3)
        said = terminal.getvalue()
        time.sleep(0.3)
        assert terminal.getvalue() == said
    assert "Publishing" in said


def test_a_terminal_that_is_closed_is_no_error_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops the step is what is raised: an OSError in its place would have the step tried again."""

    class Closed(Terminal):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().write(text)

        def close_and_stop(self) -> None:
            self.gone = True
            raise KeyboardInterrupt

    monkeypatch.setenv("TERM", "xterm")
    for gone_before in (False, True):
        terminal = Closed()
        terminal.gone = gone_before
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(KeyboardInterrupt), step_shown("Publishing"):
            terminal.close_and_stop()
        assert sys.stderr is terminal


def test_nothing_is_shown_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with step_shown("Publishing"):
        time.sleep(0.2)
    assert capsys.readouterr() == ("", "")
