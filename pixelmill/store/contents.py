"""Which content has which row, and which files hold it."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pixelmill.sources.found import FoundFile, below
from pixelmill.store.database import Database
from pixelmill.store.holders import Holders
from pixelmill.store.places import places_modified, places_of, shared_places
from pixelmill.store.rows import Place

_ASKED_AT_ONCE = 500
"""Values in one question: SQLite admits 32,766 (limits.html, SQLITE_MAX_VARIABLE_NUMBER), and gains nothing beyond some
hundred."""


class KnownRow(NamedTuple):
    """A content on record, and its row."""

    sha256: bytes
    row: int


class Contents:
    """The rows of a store's contents, and the files that hold them."""

    def __init__(self, db: Database, holders: Holders) -> None:
        self._db = db
        self._holders = holders

    def known(self) -> Iterator[KnownRow]:
        """All rows on record now."""
        return self._db.read(KnownRow, "SELECT sha256, row FROM rows")

    def row_of(self, sha256: bytes) -> int | None:
        """The row of a content."""
        return self.rows_of([sha256]).get(sha256)

    def rows_of(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The rows of those contents that have one, by sha256."""
        rows: dict[bytes, int] = {}
        for at in range(0, len(digests), _ASKED_AT_ONCE):
            asked = digests[at : at + _ASKED_AT_ONCE]
            marks = ", ".join("?" * len(asked))
            rows.update(self._db.read(KnownRow, f"SELECT sha256, row FROM rows WHERE sha256 IN ({marks})", asked))  # noqa: S608
        return rows

    def record_rows(self, rows: Iterable[tuple[bytes, int]]) -> None:
        """Record new rows as (sha256, row); `row` counts on from the last one recorded."""
        new = sorted(rows)  # neighbours in the index one after the other
        if new:
            self._db.write_all("INSERT OR REPLACE INTO rows (sha256, row) VALUES (?, ?)", new)
            self._db.set_meta("rows", max([self.row_count(), *(row + 1 for _, row in new)]))

    def replace(self, rows: Iterable[tuple[bytes, int]]) -> None:
        """Let rows on record, given as (sha256, row), be those of another content."""
        new = list(rows)
        with self._db.transaction():
            told = json.dumps([row for _, row in new])
            self._db.write("DELETE FROM rows WHERE row IN (SELECT value FROM json_each(?))", (told,))
            self._db.write_all("INSERT OR REPLACE INTO rows (sha256, row) VALUES (?, ?)", sorted(new))

    def record_read(self, files: Iterable[tuple[FoundFile, int]]) -> None:
        """Record files that were read, as (file as it was listed, row of the content).

        The size and times stay those of the scan: if the file changed between, the next scan reads it again. If another
        run's scan has recorded such a change by now, this reading may be of the old content and is not recorded.
        """
        self._db.write_all(
            "UPDATE files SET row = ?1 "
            "WHERE path = ?2 AND (size, mtime_ns, ctime_ns) IS (?3, ?4, ?5) AND row IS NOT ?1",
            ((row, file.encoded, file.size, file.mtime_ns, file.ctime_ns) for file, row in files),
        )

    def look_again(self, rows: Iterable[int]) -> None:
        """Let the next run look at `rows` as if they had lost a file: where they are, and what is known of them."""
        with self._db.transaction():
            self._db.write_all("INSERT OR REPLACE INTO stale VALUES (?, 1)", ((row,) for row in rows))

    def row_count(self) -> int:
        """How many rows the ledger knows."""
        return self._db.meta_number("rows")

    def identities(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """The identity columns of `rows`, for a part; sizes in pixels, which the ledger does not know, are 0.

        A row that the ledger does not know gets 24 zero bytes and its number, which no content has for a sha256.
        """
        wanted = {row: i for i, row in enumerate(rows)}
        sha256 = lost_identities(rows)
        for digest, row in self.known():
            if row in wanted:
                sha256[wanted[row]] = np.frombuffer(digest, np.uint8)
        size = np.zeros(len(rows), dtype=np.int32)
        return {"images/sha256": sha256, "images/width": size, "images/height": size}

    def locations(self, rows: Sequence[int]) -> dict[str, list[bytes]]:
        """The location columns of `rows`, for a part."""
        live = [self.live_path(row, b"") for row in rows]
        paths = [below(path, root) if path else b"" for root, path in live]
        return {"images/path": paths, "images/source": [root for root, _ in live]}

    def live_path(self, row: int, current: bytes) -> tuple[bytes, bytes]:
        """Where a row is now, as (source root, absolute path): `current` if that still holds it; (b'', b'') if gone."""
        return self._holders.place(row, current) or (b"", b"")

    def elsewhere(self) -> set[int]:
        """The rows whose files are gone from where they were, and which files that wait to be read may hold."""
        return {row for _, row in self._holders.elsewhere()}

    def live_rows(self, rows: int) -> np.ndarray:
        """(rows,) bool: which of the first `rows` rows are not gone: some file holds them, or may."""
        return self._holders.live(rows)

    def is_live(self, row: int) -> bool:
        """Whether row `row` is not gone: a file holds its content, or one that waits to be read may."""
        return self._holders.is_live(row)

    def unread(self) -> int:
        """How many files there are that no row stands for: refused before their content was known, or not yet read."""
        return self._holders.unread()

    def with_files(self, rows: Sequence[int]) -> int:
        """How many of `rows` have files on record, be these there or gone."""
        query = "SELECT count(DISTINCT row) FROM files WHERE row IN (SELECT value FROM json_each(?))"
        return self._db.number(query, json.dumps(list(rows)))

    def places_of(self, rows: Sequence[int]) -> Iterator[Place]:
        """Every file that holds the content of one of `rows`, or may, in the order of their paths."""
        yield from places_of(self._holders, rows)

    def shared_places(self) -> Iterator[Place]:
        """The files of all contents that more than one file is on record for, and of those that may have moved, in the
        order of their paths."""
        yield from shared_places(self._holders)

    def places_modified(self, since_ns: int, until_ns: int) -> Iterator[Place]:
        """The files that hold a row, or may, and were last modified from `since_ns` to before `until_ns` (Unix)."""
        yield from places_modified(self._holders, since_ns, until_ns)


def lost_identities(rows: Sequence[int]) -> np.ndarray:
    """What stands for the sha256 of rows whose identity nobody knows: 24 zero bytes and the row's number."""
    result = np.zeros((len(rows), 32), dtype=np.uint8)
    result[:, 24:] = np.asarray(rows, dtype=">u8").reshape(-1, 1).view(np.uint8)
    return result


def rows_of_others(known: Iterable[KnownRow], contents: np.ndarray, but: Container[int] = ()) -> int:
    """How many of the rows on record are those of another content than `contents` (N, 32) has there; `but` some."""
    others = (row for sha256, row in known if row >= len(contents) or contents[row].tobytes() != sha256)
    return sum(row not in but for row in others)


def different(contents: np.ndarray) -> int:
    """How many contents (N, 32) there are, those that stand there twice counted once."""
    return len(np.unique(contents.view("V32"))) if len(contents) else 0
