"""Which line of a table belongs to which row: `joined_<n>` has the rows that have one, with its values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pixelmill.batches import batched
from pixelmill.joining.engine import Engine
from pixelmill.joining.load import Loaded
from pixelmill.joining.table import TableKey
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import LOCATION
from pixelmill.store.reader import BLOCK, Store
from pixelmill.store.rows import Place

_LINES: Final = 2**40 - 1
_MOST_RANK: Final = 2**20 - 1


class Match(NamedTuple):
    """Lines that no picture has the key of, lines of which a later one has the key, keys that several pictures have."""

    unmatched: int
    repeated: int
    shared: int


class Keyed(NamedTuple):
    """A file of a row, with its rank among those of the row."""

    row: int
    rank: int
    source: bytes
    path: bytes


def put_rows(
    engine: Engine, ledger: Ledger, store: Store, keys: Sequence[TableKey], rows: np.ndarray | None,
    check: Callable[[], None],
) -> np.ndarray:  # fmt: skip
    """Tell the engine by which of some kinds of `keys` lines may mean `rows` (None: all); (N,) bool: which of all rows
    are among them, and have a file. The file that the store names comes first, others by their paths. `check` may raise
    at any time."""
    known = np.zeros(len(store), bool)
    for key in keys:
        engine.run(f"CREATE TABLE rows_by_{key} (row BIGINT, rank BIGINT, key VARCHAR)")
    with engine.transaction():
        for start in range(0, len(store), BLOCK):
            stop = min(start + BLOCK, len(store))
            wanted = np.arange(start, stop) if rows is None else rows[(rows >= start) & (rows < stop)]
            if len(wanted):
                check()
                first = _published(store, start, stop, wanted)
                known[[file.row for file in first]] = True
                _put(engine, keys, first)
                if "sha256" in keys:
                    _put_digests(engine, store, start, [file.row for file in first])
        others = ledger.contents.shared_places() if rows is None else ledger.contents.places_of(rows.tolist())
        for some in batched(_ranked(others, known), BLOCK):
            check()
            _put(engine, keys, some)
    return known


def _published(store: Store, start: int, stop: int, rows: np.ndarray) -> list[Keyed]:
    paths, sources = (store.texts(name, start, stop) for name in LOCATION)
    return [
        Keyed(row, 0, sources[row - start], paths[row - start]) for row in rows.tolist() if paths[row - start]
    ]  # fmt: skip


def _ranked(places: Iterable[Place], known: np.ndarray) -> Iterator[Keyed]:
    ranks = np.zeros(len(known), np.int32)
    for place in places:
        if place.row < len(known) and known[place.row]:
            ranks[place.row] += 1
            yield Keyed(place.row, min(int(ranks[place.row]), _MOST_RANK), place.source, place.path)


def _put(engine: Engine, keys: Sequence[TableKey], files: Sequence[Keyed]) -> None:
    for key in keys:
        found = [(file.row, file.rank, text) for file in files for text in _texts(key, file)]
        if found:
            numbers, ranks, texts = zip(*found, strict=True)
            engine.insert(f"rows_by_{key}", [numbers, ranks], [texts])


def _texts(key: TableKey, file: Keyed) -> Iterator[str]:
    """What a line may say for a file."""
    try:
        path, source = file.path.decode(), file.source.decode()
    except UnicodeDecodeError:
        return  # no text of a table can name it
    if key == "path":
        yield path
        yield f"{source.removesuffix('/')}/{path}"
    elif key == "stem":
        name = path.rpartition("/")[2]
        yield from {name, os.path.splitext(name)[0]}  # noqa: PTH122 - addresses as well


def _put_digests(engine: Engine, store: Store, start: int, rows: Sequence[int]) -> None:
    if rows:
        digests = store.sha256(start, rows[-1] + 1)
        texts = [digests[row - start].tobytes().hex() for row in rows]
        engine.insert("rows_by_sha256", [rows, [0] * len(rows)], [texts])


def match(engine: Engine, loaded: Loaded) -> Match:
    """Find for each row the line of its first file that has one: the last line with that key."""
    n, key, lines = loaded.number, loaded.table.key, loaded.lines
    engine.run(
        f"CREATE TABLE keys_{n} AS SELECT key, max(line) AS line FROM ({_candidates(loaded)}) GROUP BY key",  # noqa: S608
        [_folder(loaded.table.path)] if key == "path" else [],
    )
    engine.run(f"CREATE TABLE pairs_{n} AS SELECT row, rank, line, key FROM keys_{n} JOIN rows_by_{key} USING (key)")  # noqa: S608
    first = f"SELECT row, {_LINES} - (min((rank << 40) | ({_LINES} - line)) & {_LINES}) AS line FROM pairs_{n}"  # noqa: S608
    engine.run(
        f"CREATE TABLE {loaded.joined} AS SELECT first.row, lines.* FROM ({first} GROUP BY row) AS first "  # noqa: S608
        f"JOIN {lines} AS lines USING (line) ORDER BY row"
    )
    return Match(*(engine.numbers(query)[0] for query in (
        f"SELECT count(*) FROM (SELECT line FROM keys_{n} EXCEPT SELECT line FROM pairs_{n})",  # noqa: S608
        f"SELECT count(key) - count(DISTINCT key) FROM {lines} WHERE key <> ''",  # noqa: S608
        f"SELECT count(*) FROM (SELECT key FROM pairs_{n} GROUP BY key HAVING count(DISTINCT row) > 1)",  # noqa: S608
    )))  # fmt: skip


def _candidates(loaded: Loaded) -> str:
    """SQL for the keys by which a line may mean a row: a path as it is; with slashes, and from here; from the folder
    that the table lies in."""
    plain = r"regexp_replace(replace(key, '\', '/'), '^(\./)+', '')"
    texts = {"path": ("key", plain, f"? || {plain}"), "stem": ("key",), "sha256": ("lower(trim(key))",)}
    return " UNION ALL ".join(
        f"SELECT {text} AS key, line FROM {loaded.lines} WHERE key <> ''"  # noqa: S608 - our names
        for text in texts[loaded.table.key]
    )


def _folder(place: str) -> str:
    return place.encode("utf-8", "replace").decode().rpartition("/")[0] + "/"
