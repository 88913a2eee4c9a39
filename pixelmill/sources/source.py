"""What a SOURCE of the command line names: a folder, a file, a list or a pattern, here or at an address."""

# A path is kept as the file system spells it.
# ruff: noqa: PTH100, PTH110, PTH112, PTH116, PTH120, PTH121

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pixelmill.errors import SourceError, reason_of
from pixelmill.formatting import printable
from pixelmill.sources.address import (
    UNPACK,
    archive_kind,
    checked_address,
    is_address,
    is_archive,
    is_compressed_tar,
    is_http,
    shown,
)  # fmt: skip
from pixelmill.sources.braces import expanded
from pixelmill.sources.formats import has_image_extension
from pixelmill.sources.local import kind_of
from pixelmill.sources.open import files_of
from pixelmill.sources.pattern import fits
from pixelmill.sources.retry import retried


@dataclass(frozen=True, slots=True)
class Source:
    """A SOURCE of the command line, as `given`; `place` is its absolute path, address or pattern. `root` is the folder
    or address below which its images lie: of a folder the place itself, of a pattern what comes before it. A list may
    have `names` instead of lines, and one in braces stands for several sources, its `parts`."""

    kind: Literal["folder", "file", "list", "pattern"]
    root: str
    given: str
    place: str
    names: tuple[str, ...] = ()
    parts: tuple[Source, ...] = ()


def parse_source(text: str) -> Source:
    """What `text` names: a folder, a file, a `@list`, or a pattern; here or at an address, which is asked; or, in
    braces, several of these.

    Raises SourceError with the reason if there is none.
    """
    listed = text.startswith("@")
    name = text[1:] if listed else text
    if "{" in name and (is_address(name) or not os.path.exists(name)):
        names = expanded(name)
        if names != [name]:
            return _in_braces(text, names, "@" if listed else "")
    address = checked_address(name) if is_address(name) else ""
    if is_compressed_tar(name) and not listed:
        raise SourceError(f"{UNPACK} Got {printable(shown(address) if address else name)!r}.")
    if address:
        return _elsewhere(text, address, listed)
    if "*" in name and not listed and not os.path.exists(name):
        return _pattern(os.path.abspath(name), text)
    mode = _mode(name, text)
    place = _absolute(name)
    if stat.S_ISDIR(mode) and not listed:
        return Source("folder", place, text, place)
    if not stat.S_ISREG(mode):
        expected = "a text file of paths" if listed else "a regular file or a folder"
        raise SourceError(f"Expected {expected}. Got {text!r}, which is {kind_of(mode)}.")
    return Source("list" if listed else "file", os.path.dirname(place), text, place)


def _in_braces(text: str, names: Sequence[str], mark: str) -> Source:
    """What braces stand for: files as one list, whether they are there or not, and other sources each on its own."""
    files, parts = list[str](), list[Source]()
    for name in names:
        if mark or not _is_file_name(name):
            parts.append(parse_source(mark + name))
        else:
            files.append(checked_address(name) if is_address(name) else os.path.abspath(name))
    place = text if is_address(names[0]) else os.path.abspath(text)
    root = place[: place.index("{")].rpartition("/")[0] or "/"
    if files:
        parts.insert(0, Source("list", root, text, place, names=tuple(files)))
    return Source("list", root, text, place, parts=tuple(parts))


def _is_file_name(name: str) -> bool:
    """Whether a text names one file, which need not be asked for, rather than a folder or a pattern."""
    if "*" in name or is_compressed_tar(name):
        return False
    if is_address(name):
        return is_http(name) or archive_kind(name) is not None or has_image_extension(name)
    return not os.path.isdir(name)


def _pattern(place: str, text: str) -> Source:
    root = place[: place.index("*")].rpartition("/")[0]
    while is_archive(root):
        root = root.rpartition("/")[0]
    if root.endswith((":/", ":")):
        raise SourceError(f"Expected a pattern below a host or a bucket that is named. Got {text!r}.")
    try:
        fits(place)
    except ValueError as error:
        raise SourceError(f"Expected a pattern such as 'shards/*.tar'. Got {text!r}: {error}.") from error
    return Source("pattern", root or "/", text, place)


def _elsewhere(text: str, address: str, listed: bool) -> Source:
    if "*" in address and not is_http(address) and not listed:
        return _pattern(address, text)
    kind = _kind_at(address)
    if kind == "folder" and listed:
        raise SourceError(f"Expected a text file of paths. Got {text!r}, which is a folder.")
    root = address.rstrip("/") if kind == "folder" else address.rpartition("/")[0]
    return Source("list" if listed else kind, root, text, root if kind == "folder" else address)


def _kind_at(address: str) -> Literal["file", "folder"]:
    """Whether a checked address is that of a file or of a folder. Raises SourceError if nothing is there. A server that
    does not answer now is no reason not to look at other sources: HTTP knows no folders."""
    try:
        retried(lambda: files_of(address).status(address))
    except IsADirectoryError:
        if is_archive(address.rstrip("/")):
            raise SourceError(
                f"Expected an archive at {shown(address)}. It is a folder: give it another name."
            ) from None
        return "folder"
    except OSError as error:
        if is_http(address) and not isinstance(error, (FileNotFoundError, PermissionError)):
            return "file"
        said = reason_of(error).rstrip(".")
        raise SourceError(f"Expected a file or a folder at {shown(address)}. {said[:1].upper()}{said[1:]}.") from error
    return "file"


def _mode(name: str, text: str) -> int:
    try:
        return os.stat(name).st_mode
    except (OSError, ValueError) as error:
        raise SourceError(_why(name, text, error)) from error


def _why(name: str, text: str, error: OSError | ValueError) -> str:
    expected = "Expected a file, a folder, @list.txt or an address such as s3://bucket/folder."
    if not name:
        return f"{expected} Got {text!r}, which names nothing."
    if not isinstance(error, FileNotFoundError):
        return f"{expected} Got {text!r}, which cannot be read: {reason_of(error)}"
    hint = f" For the file or folder of that name write './{text}'." if name != text and os.path.exists(text) else ""
    return f"{expected} Got {text!r}, which does not exist; if it is on another disk or a share, is that mounted?{hint}"


def _absolute(name: str) -> str:
    """The absolute path, links kept, unless `..` after a link makes that another file."""
    path = os.path.abspath(name)
    return path if os.path.exists(path) and os.path.samefile(path, name) else os.path.realpath(name)
