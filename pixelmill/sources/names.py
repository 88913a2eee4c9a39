"""Which names elsewhere are taken for those of images, and how the name of an archive's member is kept."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Final

from pixelmill.sources.companions import may_speak
from pixelmill.sources.formats import has_image_extension, sniff
from pixelmill.sources.found import is_hidden

_TEXTS: Final = frozenset(
    {"README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS", "CHANGELOG", "CHANGES", "MAKEFILE", "DOCKERFILE"}
)
"""Names without an extension that are those of texts."""
_OTHERS: Final = frozenset(
    {
        ".txt", ".json", ".jsonl", ".cls", ".caption", ".csv", ".tsv", ".xml", ".html", ".htm", ".md", ".yaml", ".yml",
        ".log", ".ini", ".py", ".npy", ".npz", ".pt", ".pth", ".pkl", ".mp3", ".wav", ".flac", ".ogg", ".mp4", ".webm",
        ".mov", ".avi", ".mkv", ".pdf", ".svg", ".zip", ".tar", ".gz", ".parquet",
    }
)  # fmt: skip
"""Extensions of what lies beside images in archives, into which nobody looks."""


def kept_name(name: str, size: int, head: Callable[[], bytes]) -> str | None:
    """A member's name as it is kept, if it may be an image: by its extension, or where that says nothing by its
    content, of which `head` gives the first bytes. Names of folders that desktops make, hidden ones and those that
    point out of the archive are not kept."""
    path = _path_of(name)
    if not path or name.endswith("/") or is_hidden(path):
        return None
    last = posixpath.basename(path)
    if has_image_extension(last):
        return path
    if not size or _is_other(last):
        return None
    return path if sniff(head()) else None


def speaking_name(name: str) -> str | None:
    """A member's name as it is kept, if it is one of what speaks of images."""
    if not may_speak(name):
        return None
    path = _path_of(name)
    return None if not path or is_hidden(path) else path


def may_be_image(name: str, size: int) -> bool:
    """Whether a name elsewhere is taken for an image's: by its extension; those of objects often have none at all."""
    return has_image_extension(name) or (size > 0 and "." not in name and not _is_other(name))


def _path_of(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/") if "/" not in name else name).lstrip("/")


def _is_other(name: str) -> bool:
    """Whether a name is one of something else than an image."""
    return name.startswith("_") or name.upper() in _TEXTS or posixpath.splitext(name)[1].lower() in _OTHERS
