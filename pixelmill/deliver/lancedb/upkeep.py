"""The upkeep of a LanceDB table: small files put together, old versions removed, indexes made and updated."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pixelmill.deliver.lancedb.indexes import ROWS, LanceIndex
from pixelmill.deliver.lancedb.table import LanceTable
from pixelmill.errors import DeliveryRefused, TargetUnavailable

log = logging.getLogger(__name__)

OLD_VERSIONS: Final = timedelta(days=1)
"""How long what was replaced stays for those who have it open."""
_NEVER: Final = timedelta(days=36_500)
EVERY: Final = timedelta(days=7)
"""A table is tidied at the first delivery after so long, if not before."""
SMALL_FILES: Final = 8
"""More of them are put together: each delivery that changes something adds one or a few."""
LEFT_OUT: Final = 10_000
LEFT_OUT_PART: Final = 0.02
"""An index without more rows than so many, or than such a part of all, gets them. A search looks through them itself
until then."""


def look_after(table: LanceTable) -> None:
    """Make the indexes that are missing, and tidy the table, where there is a need to."""
    now = datetime.now(UTC)
    is_due = now >= table.kept.tidy_at
    if not (is_due or table.is_changed or table.kept.indexes):
        return
    make_indexes(table)
    if is_due or _is_untidy(table):
        table.database.run(table.handle.optimize(cleanup_older_than=_goes_after(table)), size=None)
        table.settle()
        table.kept = table.kept.model_copy(update={"tidy_at": now + EVERY})


def remove_old_versions(table: LanceTable) -> None:
    """Remove all versions but the last, with what was replaced. Raises DeliveryRefused where tags keep some."""
    if tags := table.database.run(table.handle.tags.list()):
        raise DeliveryRefused(
            f"Expected a table {table.name!r} without tags, to erase what was deleted from it. Its versions "
            f"{', '.join(sorted(tags))} keep that: remove these tags."
        )
    erased = table.handle.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)
    table.database.run(erased, size=None)
    table.note()


def make_indexes(table: LanceTable) -> None:
    """Make the indexes that the table is to have and has not yet, and the one of its rows; what cannot be made is told
    in the log."""
    names = {index.name for index in indexes_of(table)}
    missing = [index for index in table.kept.indexes if index.name not in names and _has_column(table, index)]
    left = [index for index in missing if not _made(table, index)]
    if ROWS.column not in {index.column for index in indexes_of(table)}:
        _made(table, ROWS)
    table.settle()
    table.kept = table.kept.model_copy(update={"indexes": tuple(left)})


def indexes_of(table: LanceTable) -> list[LanceIndex]:
    """The indexes that a table has."""
    return [LanceIndex.of(found) for found in table.database.run(table.handle.list_indices())]


def _has_column(table: LanceTable, index: LanceIndex) -> bool:
    if is_there := index.column in table.columns:
        return is_there
    log.warning(
        "table=%s index=%s: its column %s is not delivered any more, so it is gone",
        table.name,
        index.name,
        index.column,
    )
    return False


def _made(table: LanceTable, index: LanceIndex) -> bool:
    try:
        config = index.config(table.dim)
        table.database.run(table.handle.create_index(index.column, config=config, name=index.name), size=None)
    except (RuntimeError, ValueError, OSError, NotImplementedError, TypeError) as error:
        told = table.database.translated(error)
        if isinstance(told, TargetUnavailable):
            raise told from error
        log.warning(
            "table=%s index=%s kind=%s column=%s: it cannot be made over the new rows, and is tried again by the next "
            "delivery. %s", table.name, index.name, index.kind, index.column, told,
        )  # fmt: skip
        return False
    return True


def _goes_after(table: LanceTable) -> timedelta:
    """After how long old versions go: LanceDB removes none as soon as one of them has a tag, and does nothing else."""
    tags = table.database.run(table.handle.tags.list())
    if not tags:
        return OLD_VERSIONS
    log.warning(
        "table=%s tags=%s: old versions stay, and with them the rows that were replaced, as long as versions have tags",
        table.name, ",".join(sorted(tags)),
    )  # fmt: skip
    return _NEVER


def _is_untidy(table: LanceTable) -> bool:
    """Whether there are many small files, or an index without many rows."""
    stats: dict[str, Any] = dict(table.database.run(table.handle.stats()))  # type: ignore[call-overload]
    if stats["fragment_stats"]["num_small_fragments"] > SMALL_FILES:
        return True
    most = min(LEFT_OUT, int(LEFT_OUT_PART * stats["num_rows"]))
    return any((index.num_unindexed_rows or 0) > most for index in table.database.run(table.handle.list_indices()))
