"""Where contents are, as the ledger has it on record: one may lie in many files, of which the master names one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pixelmill.sources.found import below
from pixelmill.store.holders import IN_DOUBT, Holders
from pixelmill.store.rows import Place

_AT_ONCE = 500
_REST = "source, path, ifnull(size, 0), ifnull(mtime_ns, 0)"
# What waits to be read counts for what it may hold still.
_HOLDING = (
    f"SELECT row, {_REST} FROM files WHERE NOT gone AND row IN ({{rows}}) "  # noqa: S608 - constants
    f"UNION ALL SELECT held.row, {_REST} FROM {IN_DOUBT} AND held.row IN ({{rows}})"
)
_SEVERAL = (
    "SELECT row FROM files WHERE row IS NOT NULL GROUP BY row HAVING count(*) > 1 "  # noqa: S608 - constants
    f"UNION SELECT held.row FROM {IN_DOUBT}"
)
_MODIFIED = (
    f"SELECT ifnull(files.row, held.row) AS held_row, {_REST} FROM files LEFT JOIN held USING (path) "  # noqa: S608
    "WHERE held_row IS NOT NULL AND NOT gone AND mtime_ns >= ? AND mtime_ns < ?"
)


def places_of(holders: Holders, rows: Sequence[int]) -> Iterator[Place]:
    """See `Contents.places_of`."""
    for at in range(0, len(rows), _AT_ONCE):
        some = list(map(int, rows[at : at + _AT_ONCE]))
        query = _HOLDING.format(rows=", ".join("?" * len(some)))
        yield from map(_relative, holders.ask(Place, f"{query} ORDER BY path", (*some, *some)))


def shared_places(holders: Holders) -> Iterator[Place]:
    """See `Contents.shared_places`."""
    yield from map(_relative, holders.ask(Place, f"{_HOLDING.format(rows=_SEVERAL)} ORDER BY path"))


def places_modified(holders: Holders, since_ns: int, until_ns: int) -> Iterator[Place]:
    """See `Contents.places_modified`."""
    yield from map(_relative, holders.ask(Place, _MODIFIED, (since_ns, until_ns)))


def _relative(found: Place) -> Place:
    return found._replace(path=below(found.path, found.source))
