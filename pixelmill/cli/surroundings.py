"""What a process is started with: standard streams, the encoding of names, a home; made fit for every command."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def settle_streams() -> None:
    """Let nothing that is printed fail for its letters, and no file of the store be taken for a closed stream."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Closed: the next file opened would take its number, and get what libraries write to it.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def settle_home() -> None:
    """A user without a name and a home (`docker run --user 12345`) has one that is not there: libraries ask for it when
    they are imported, and few need it."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path's would raise
        os.environ["HOME"] = "/nonexistent"


def leave_streams() -> None:
    """What may not have been written there is not tried once more when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def though_unheard() -> Iterator[None]:
    """What is said in the block changes no exit code where stderr is full, or nobody reads it any more."""
    try:
        yield
    except OSError:
        leave_streams()


def use_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale has another encoding: names are the file system's bytes, and
    a run of another night must know them again."""
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{getattr(sys.stdout, 'encoding', None) or 'utf-8'}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
