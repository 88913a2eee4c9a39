"""How many files a process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

ENOUGH: Final = 8192
"""More than any command opens: 32 reads of images elsewhere at a time, a few decoders, some dozen files of libraries.
macOS refuses more than 10,240."""


def admit_files() -> None:
    """Let this process and its children have as many files open as they may without asking anybody: services and macOS
    begin with 256, and what libraries do where they get no descriptor is seldom told well."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
