"""Paths as people write them: `~` is a home folder, and an address is no path."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

from pixelmill.errors import SettingsError, StoreError

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Also as `Path` writes an address, with one slash."""


def local_path(given: str | os.PathLike[str]) -> Path:
    """The path on this machine that `given` names. Raises ValueError, in words, for an address, for nothing, and for a
    home folder that is not known."""
    text = os.fspath(given)
    if not text:
        raise ValueError("Expected a path. Got ''")
    if _ADDRESS.match(text):
        raise ValueError(
            f"Expected a path on this machine. Got {text!r}, an address: mount what is there, or choose a folder here"
        )
    return Path(at_home(text))


def cache_folder(name: str) -> Path:
    """Where a cache is kept unless the settings say otherwise (the XDG Base Directory Specification)."""
    try:
        return local_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "pixelmill" / name
    except ValueError as error:
        raise SettingsError(f"{error}, or XDG_CACHE_HOME to where {name} can be kept.") from error


def local_source(given: str) -> str:
    """A SOURCE as it is looked for: its path, behind `@` too, with `~` as a home folder; an address as it is."""
    mark = "@" if given.startswith("@") else ""
    return mark + at_home(given.removeprefix(mark))


def at_home(text: str) -> str:
    """`text` with a home folder for `~` or `~name` at its beginning. Raises ValueError where none is known."""
    if "\0" in text:
        raise ValueError(f"Expected a path. Got {text!r}")
    path = os.path.expanduser(text)  # noqa: PTH111 - a path is kept as it is spelled
    if path.startswith("~") and not os.path.lexists(path):
        raise ValueError(f"Expected a home folder for {path.partition('/')[0]!r}. None is known: set HOME")
    return path


def write_page(out: Path, page: str) -> None:
    """Write a file for people, whole or not at all. Raises StoreError."""
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(page, "utf-8")
        temporary.replace(out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"Expected a folder to write {out.name} into. {out} cannot be written: {error}.") from error
