"""Where the contents of rows are, for people: the file that is shown first, and every other one that holds the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from pixelmill.errors import StoreError
from pixelmill.sources.found import FoundFile
from pixelmill.store.ledger import LEDGER
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of

Fits = Callable[[bytes, bytes], bool]
"""Whether a file passes: its source, and its path relative to that."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file, decoded by `os.fsdecode`; `path` is relative to `source`, '' where the file is gone."""

    source: str
    path: str

    @property
    def file(self) -> FoundFile:
        """The file, of which only the place is known."""
        return FoundFile(self.source, self.path, 0, 0, 0)

    @property
    def absolute(self) -> str:
        """The file, as it is opened; the source alone where the file is gone."""
        return self.file.absolute if self.path else self.source


def fitting(globs: Sequence[str]) -> Fits:
    """What passes one of `globs`, by its path below its source or by its whole path; all, where there are none."""
    if not globs:
        return lambda source, path: True
    matches = re.compile(b"|".join(b"(?:%s)" % os.fsencode(translate(glob)) for glob in globs)).match
    return lambda source, path: bool(matches(path) or matches(source.removesuffix(b"/") + b"/" + path))


def places_of(
    store: Store, rows: Sequence[int], globs: Sequence[str] = (), *, rather: Container[tuple[bytes, bytes]] = ()
) -> dict[int, tuple[Place, ...]]:
    """All files that hold the contents of `rows` and, first of each, the one to show: that which fits `globs`, or is
    among those `rather` shown, else the one that the store names. Without a ledger, or with one that cannot be used,
    that is the only one known.
    """
    fits = fitting(globs)
    named = {row: store.location(row) for row in rows}
    held = {row: [named[row]] if named[row][1] else [] for row in rows}
    for row, source, path in _on_record(store, rows):
        if (source, path) != named[row]:
            held[row].append((source, path))
    return {
        row: tuple(
            _place(*place)
            for place in sorted(held[row] or [named[row]], key=lambda at: (not fits(*at), at not in rather))
        )
        for row in rows
    }


def ledger_stamp(folder: Path) -> tuple[tuple[int, int] | None, ...]:
    """What changes whenever the ledger does: runs record files that moved or were copied without a new snapshot."""
    return tuple(_state(folder / name) for name in (LEDGER, f"{LEDGER}-wal"))


def _on_record(store: Store, rows: Sequence[int]) -> list[tuple[int, bytes, bytes]]:
    try:
        with ledger_of(store.folder) as ledger:
            return [found[:3] for found in ledger.contents.places_of(rows)] if ledger else []
    except StoreError:  # what is shown does not depend on it; coverage and `pixelmill verify` name the damage
        return []


def _place(source: bytes, path: bytes) -> Place:
    return Place(os.fsdecode(source), os.fsdecode(path))


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found.st_size else None
