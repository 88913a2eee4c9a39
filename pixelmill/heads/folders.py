"""Folders as labels: to learn from, and to be measured by."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Final

from pixelmill.formatting import printable
from pixelmill.store.manifest import LOCATION
from pixelmill.store.reader import Store

FOLDER: Final = "folder"
"""In place of a column: the folder that a picture lies in. A column of that name goes before."""


def folders_of(store: Store, start: int, stop: int) -> list[str]:
    """Of rows `start` to `stop`, below its source the whole path of each picture's folder; of one that lies in the
    source itself, the source's name. '' for a row without a file. What is no UTF-8 is escaped."""
    paths, sources = (store.texts(name, start, stop).tolist() for name in LOCATION)
    known: dict[tuple[bytes, bytes], str] = {}
    result = []
    for source, path in zip(sources, paths, strict=True):
        place = (source, path.rpartition(b"/")[0])
        if place not in known:
            known[place] = printable(_name(*map(os.fsdecode, place)))
        result.append(known[place] if path else "")
    return result


def _name(source: str, folder: str) -> str:
    return folder or PurePosixPath(source).name or source
