"""Files in a store's folder that are none of its own, as tables that somebody has put there, and name pictures."""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from pixelmill.store.labels import FOLDER as LABELS

_OWN: Final = frozenset({
    "vectors.h5", "manifest.json", "revisions", "parts", "curation", "index", "heads", "evaluations", "runs",
    "deliveries", "backup.json", "forgotten.json", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm",
    "ledger.sqlite-journal",
})  # fmt: skip
"""What docs/store.md lists, but for `labels`, where people keep copies of theirs; names that begin with a dot are the
store's, too."""


def naming(folder: Path, contents: Collection[bytes], paths: Collection[str]) -> Iterator[Path]:
    """The files that hold the sha256 of one of `contents`, as bytes or in hex, or one of `paths`."""
    digests = [*contents, *(content.hex().encode() for content in contents)]
    names = list(map(os.fsencode, paths))
    for entry in sorted(folder.iterdir()):
        if entry.name in _OWN or entry.name.startswith("."):
            continue
        needles = digests if entry.name == LABELS else [*digests, *names]  # labels of others have paths like these
        for file in [entry] if entry.is_file() else sorted(path for path in entry.rglob("*") if path.is_file()):
            if _has_any(file, needles):
                yield file


def _has_any(file: Path, needles: Collection[bytes]) -> bool:
    """Whether a file has one of these bytes in it; it is not read into memory, and one that cannot be read may."""
    try:
        with file.open("rb") as opened:
            if not os.fstat(opened.fileno()).st_size:
                return False
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return any(content.find(needle) >= 0 for needle in needles)
    except OSError:
        return True
