"""The files of this machine that fit a pattern. A folder that cannot be read is told of, where `glob` finds nothing."""

# Paths are kept as the file system spells them.
# ruff: noqa: PTH118, PTH208

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import translate

from pixelmill.errors import reason_of
from pixelmill.sources.files import Status
from pixelmill.sources.local import LocalFiles

Problem = Callable[[str, str], None]


def fits(pattern: str) -> Callable[[str], bool]:
    """Whether a path or address fits a pattern, as SOURCE takes it. Raises ValueError for one that is none."""
    from fsspec.utils import glob_translate

    fitting = re.compile(glob_translate(pattern))
    return lambda path: fitting.match(path) is not None


def files_fitting(pattern: str, problem: Problem) -> list[tuple[str, Status]]:
    """The files that fit an absolute pattern, by path. `*` stands for anything but a slash, and `**` alone between two
    slashes for any number of folders; hidden names fit only what begins with a dot. Symbolic links are followed, but by
    `**` into each folder once."""
    files, found = LocalFiles(), []
    for path in sorted(set(_below("/", pattern.strip("/").split("/"), problem)), key=os.fsencode):
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            try:
                found.append((path, files.status(path)))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise
            except OSError as error:
                problem(path, reason_of(error))
    return found


def _below(folder: str, parts: list[str], problem: Problem) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        for inner in _folders(folder, problem):
            yield from _below(inner, rest or ["*"], problem)
    elif "*" not in first and "?" not in first and "[" not in first:
        path = os.path.join(folder, first)
        if rest:
            yield from _below(path, rest, problem)
        elif os.path.lexists(path):
            yield path
    else:
        fits = re.compile(translate(first)).match
        for name in _names(folder, problem):
            if fits(name) and (name[0] != "." or first[0] == "."):
                path = os.path.join(folder, name)
                if not rest:
                    yield path
                elif os.path.isdir(path):  # noqa: PTH112
                    yield from _below(path, rest, problem)


def _folders(top: str, problem: Problem) -> Iterator[str]:
    """A folder and all below it, each once: known by their real paths, since inode numbers may occur twice."""
    visited, stack = set[str](), [(top, os.path.realpath(top))]
    while stack:
        folder, real = stack.pop()
        if real in visited:
            continue
        visited.add(real)
        yield folder
        for name in reversed(_names(folder, problem)):
            path = os.path.join(folder, name)
            if name[0] != "." and os.path.isdir(path):  # noqa: PTH112
                linked = os.path.islink(path)  # noqa: PTH114
                stack.append((path, os.path.realpath(path) if linked else os.path.join(real, name)))


def _names(folder: str, problem: Problem) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problem(folder, reason_of(error))
        return []
