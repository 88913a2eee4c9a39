"""Which line of a table belongs to which row: `joined_<n>` has the rows that have one, with its values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pixelmill.joining.engine import Engine
from pixelmill.joining.load import Loaded
from pixelmill.joining.table import TableKey
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.rows import Place

_LINES: Final = 2**40 - 1
_MOST_RANK: Final = 2**20 - 1


class Match(NamedTuple):
    """Lines that no picture has the key of, lines of which a later one has the key, keys that several pictures have."""

    unmatched: int
    repeated: int
    shared: int


def prepare(engine: Engine, keys: Sequence[TableKey]) -> None:
    """Make room for the keys of rows, by each kind of key that tables have."""
    for key in keys:
        engine.run(f"CREATE TABLE rows_by_{key} (row BIGINT, rank BIGINT, key VARCHAR)")


def put_keys(engine: Engine, key: TableKey, places: Sequence[tuple[int, Place]]) -> None:
    """Tell of some files, each with its rank among those of its row, by which keys lines may name them."""
    found = [(place.row, rank, text) for rank, place in places for text in _keys(key, place)]
    if found:
        rows, ranks, texts = zip(*found, strict=True)
        engine.insert(f"rows_by_{key}", [rows, ranks], [texts])


def ranked(store: Store, ledger: Ledger, start: int, stop: int, rows: Sequence[int]) -> list[tuple[int, Place]]:
    """The files of rows from `start` to `stop`, each with its rank: that which the store names comes first."""
    paths, sources = (store.texts(f"images/{name}", start, stop) for name in ("path", "source"))
    ranks, found = np.zeros(stop - start, np.int64), list[tuple[int, Place]]()
    for place in ledger.contents.places_of(rows):
        at = place.row - start
        is_first = (place.path, place.source) == (paths[at], sources[at])
        ranks[at] += not is_first
        found.append((0 if is_first else min(int(ranks[at]), _MOST_RANK), place))
    return found


def _keys(key: TableKey, place: Place) -> Iterator[str]:
    try:
        path, source = place.path.decode(), place.source.decode()
    except UnicodeDecodeError:
        return  # no text of a table can name it
    if key == "path":
        yield path
        yield f"{source.removesuffix('/')}/{path}"
    else:
        name = path.rpartition("/")[2]
        yield from {name, os.path.splitext(name)[0]}  # noqa: PTH122 - addresses as well


def put_digests(engine: Engine, store: Store, start: int, rows: Sequence[int]) -> None:
    """Tell of the sha256 of some rows, `start` being the first of their block."""
    if rows:
        digests = store.sha256(start, rows[-1] + 1)
        engine.insert(
            "rows_by_sha256", [rows, [0] * len(rows)], [[digests[row - start].tobytes().hex() for row in rows]]
        )


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
