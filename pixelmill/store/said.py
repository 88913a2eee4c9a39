"""What came with the images of rows: the values of all their companions, put together."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np

from pixelmill.batches import batched
from pixelmill.sources.address import archive_kind
from pixelmill.sources.companions import Keys, keys_of, ranges_of
from pixelmill.sources.said import ORIGINS, Value
from pixelmill.store.database import Database, RowNumber
from pixelmill.store.holders import IN_DOUBT

_AT_ONCE = 500
_RANKS = {origin: rank for rank, origin in enumerate(ORIGINS)}
_FILES = (
    "SELECT row, source, path, size IS NULL AS is_strange FROM files WHERE NOT gone AND row IN ({rows}) "  # noqa: S608
    f"UNION ALL SELECT held.row, source, path, size IS NULL FROM {IN_DOUBT} AND held.row IN ({{rows}}) ORDER BY path"
)
_SAID = "SELECT key, kind, origin, said FROM beside JOIN said USING (path) WHERE key IN ({keys}) AND NOT gone"
_OF_FILES = (
    "SELECT row FROM files INDEXED BY files_unsettled WHERE unsettled AND row IS NOT NULL",
    "SELECT held.row FROM files INDEXED BY files_unsettled JOIN held USING (path) WHERE unsettled",
    "SELECT row FROM stale",
)
"""The rows of files that a run has found new, changed, moved or gone, and that no run has settled yet."""


class _File(NamedTuple):
    row: int
    source: bytes
    path: bytes
    is_strange: int


class _Companion(NamedTuple):
    key: bytes
    kind: str
    origin: str
    said: str


class _Key(NamedTuple):
    key: bytes
    kind: str


class _Image(NamedTuple):
    path: bytes
    source: bytes
    row: int | None


def images_of(db: Database, key: bytes, kind: str) -> Iterator[int | None]:
    """The images of which a companion of this key and kind speaks, as their rows, where these are known."""
    query = (
        "SELECT path, files.source, ifnull(files.row, held.row) FROM files LEFT JOIN held USING (path) "
        "WHERE path >= ? AND path < ? AND NOT gone"
    )
    for between in ranges_of(key, kind):
        for image in db.read(_Image, query, between):
            own, takeout = image_keys(image.path, image.source)
            if key in own or (kind == "json" and key in takeout):
                yield image.row


def image_keys(path: bytes, source: bytes) -> Keys:
    """The keys that companions of an image may have."""
    return keys_of(path, archived=_is_archive(source))


@lru_cache(maxsize=16)
def _is_archive(source: bytes) -> bool:
    """Of millions of images few have different sources."""
    return archive_kind(os.fsdecode(source)) is not None


def changed_rows(db: Database) -> Iterator[int]:
    """See `Beside.changed_rows`."""
    db.write("UPDATE beside SET unsettled = 2 WHERE unsettled > 0 AND unsettled = 1")
    companions = db.read(_Key, "SELECT key, kind FROM beside WHERE unsettled > 0")
    of_companions = chain.from_iterable(images_of(db, *one) for one in companions)
    of_files = (row for query in _OF_FILES for (row,) in db.read(RowNumber, query))
    rows = array("q", (row for row in chain(of_files, of_companions) if row is not None))
    yield from np.unique(rows).tolist()


def of_rows(db: Database, located: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Mapping[str, Value]]]:
    """See `Beside.of_rows`."""
    for some in batched(located, _AT_ONCE):
        files = _files_of(db, some)
        keys = {file.path: image_keys(file.path, file.source) for held in files.values() for file in held}
        companions = _companions_of(db, {key for of in keys.values() for key in chain(*of)})
        for row, _ in some:
            if row in files and not any(file.is_strange for file in files[row]):
                yield row, _merged(db, (_of_image(keys[file.path], companions) for file in files[row]))


def names(db: Database) -> dict[str, int]:
    """See `Beside.names`."""
    counts = Counter[str]()
    for (text,) in db.cells("SELECT said FROM said JOIN beside USING (path) WHERE NOT gone"):
        counts.update(_values(db, text).keys())
    return dict(counts.most_common())


def _files_of(db: Database, some: Sequence[tuple[int, bytes]]) -> dict[int, list[_File]]:
    """The files that hold each of some rows, or may, the published one first."""
    published = dict(some)
    rows, files = list(published), defaultdict[int, list[_File]](list)
    query = _FILES.format(rows=_marks(rows))
    for file in db.read(_File, query, (*rows, *rows)):
        at = 0 if file.path == published[file.row] else len(files[file.row])
        files[file.row].insert(at, file)
    return files


def _companions_of(db: Database, keys: Iterable[bytes]) -> dict[bytes, list[_Companion]]:
    found = defaultdict[bytes, list[_Companion]](list)
    for some in batched(keys, _AT_ONCE):
        for companion in db.read(_Companion, _SAID.format(keys=_marks(some)), some):
            found[companion.key].append(companion)
    return found


def _of_image(keys: Keys, companions: Mapping[bytes, Sequence[_Companion]]) -> list[str]:
    """What the companions of an image say, that first which counts first."""
    own = [one for key in keys.own for one in companions.get(key, ())]
    takeout = [one for key in keys.takeout for one in companions.get(key, ()) if one.kind == "json"]
    return [one.said for one in sorted(own + takeout, key=lambda one: _RANKS.get(one.origin, len(_RANKS)))]


def _merged(db: Database, said: Iterable[Iterable[str]]) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for text in chain.from_iterable(said):
        for name, value in _values(db, text).items():
            merged.setdefault(name, value)
    return merged


def _values(db: Database, text: object) -> dict[str, Value]:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise db.damaged(f"it holds {text!r:.50} for what came with an image")
    return found


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
