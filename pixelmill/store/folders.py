"""What happened in which folder, in a table that stays short however many folders there are."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pixelmill.store.rows import KINDS, FolderCount

SHOWN = 20
"""The longest table of folders that is still read with pleasure."""
COUNTED = 10_000
"""So many folders are counted one by one, some megabytes of them; any more count among the others."""

_OTHERS: tuple[bytes, ...] = ()


class FolderCounts:
    """Counts files by folder: by the deepest level below the sources at which at most `SHOWN` folders hold any.

    A night's import into `photos/2026/11/25` is one line of that name; a first night, over years of such folders, has a
    line a year. A file that lies higher than the level counts for the folder it is in. Where the first level below the
    sources has too many folders already, the `SHOWN` with most files are named and the rest summed up.
    """

    def __init__(self) -> None:
        self._level = 1_000_000
        self._counts: dict[tuple[bytes, ...], dict[str, int]] = {}
        self._last: bytes | None = None
        self._current: dict[str, int] = {}

    def add(self, kind: str, source: bytes, path: bytes) -> None:
        """Count one file; `path` is absolute and below `source`, its source root."""
        folder = path[: path.rindex(b"/")]
        if folder != self._last:  # most files lie beside the one before
            self._last, self._current = folder, self._counts_of(source, folder)
        self._current[kind] += 1

    def largest(self) -> tuple[FolderCount, ...]:
        """The folders with most files first; what sums up the others, if there are any, is the last."""
        ordered = sorted(self._counts.items(), key=lambda item: (not item[0], -sum(item[1].values()), item[0]))
        largest = [FolderCount(_path(key), **counts) for key, counts in ordered[:SHOWN]]
        others = _zero()
        for _, counts in ordered[SHOWN:]:
            _add(others, counts)
        return (*largest, FolderCount(None, **others)) if ordered[SHOWN:] else tuple(largest)

    def _counts_of(self, source: bytes, folder: bytes) -> dict[str, int]:
        """The counts that a folder's files go to, at the level at which folders are few enough with it."""
        parts = [part for part in folder[len(source) :].split(b"/") if part]
        while True:
            key = (source, *parts[: self._level])
            if key not in self._counts and len(self._counts) >= COUNTED:
                key = _OTHERS
            found = self._counts.setdefault(key, _zero())
            if len(self._counts) <= SHOWN or self._level == 1:
                return found
            self._rise()

    def _rise(self) -> None:
        """Count at one level less than the deepest that there is."""
        counted, self._counts = self._counts, {}
        self._level = max(max(len(key) for key in counted) - 2, 1)
        for key, counts in counted.items():
            _add(self._counts.setdefault(key[: self._level + 1], _zero()), counts)


def _zero() -> dict[str, int]:
    return dict.fromkeys(KINDS, 0)


def _add(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for kind, files in counts.items():
        total[kind] += files


def _path(key: tuple[bytes, ...]) -> str:
    return os.fsdecode(os.path.join(*key))  # noqa: PTH118 - bytes, which pathlib does not take
