"""Columns of a store begun, joined to its rows, served and dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from pixelmill.store import filling
from pixelmill.store.column_values import values_of
from pixelmill.store.columns import ColumnGroup, Values
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.extents import Extent, overlay
from pixelmill.store.manifest import Manifest, Part
from pixelmill.store.master import PARTS, publish
from pixelmill.store.parts import write_part
from pixelmill.store.reader import Store
from pixelmill.store.serving import covers

JOINED_BLOCK: Final = 65_536
"""Rows whose values are written anew together when one of them changes."""

JoinedValues = Callable[[int, int], Mapping[str, Values]]
"""The values of rows from the first to before the second, by the names of columns."""

Added = tuple[Extent, set[str]]
"""Where rows lie in a new part, for the columns in it."""


def begin(writer: StoreWriter, group: ColumnGroup) -> ColumnGroup:
    """The group of columns like this one: the one there is, or a new one, empty. It is served at once unless one of its
    names is: then from when it covers what that one does (`serve`)."""
    return writer.in_turn(partial(_begun, writer, group))


def serve(writer: StoreWriter, fingerprint: str, *, is_whole: bool = False) -> bool:
    """Let a group that covers what those of its names serve, or that is told to be whole, take their place; they are
    dropped. Whether it did."""
    return writer.in_turn(partial(_served, writer, fingerprint, is_whole))


def fill(writer: StoreWriter, group: ColumnGroup, rows: np.ndarray, values: Mapping[str, Values]) -> None:
    """Publish the values of ascending `rows` in a group that was begun, by the names of its columns. Raises Overtaken,
    with nothing published, if the group is there no more, or what was written is gone."""
    datasets: dict[str, Values] = {group.embedded: np.ones(len(rows), dtype=np.uint8)}
    for name, column in group.datasets():
        now = column.empty(len(rows))
        now[:] = values[column.name]
        datasets[name] = now if column.dtype else now.tolist()
    names = ", ".join(column.name for column in group.columns)
    overtaken = f"Expected the columns {names} as they were begun. Another process has dropped them. Run again."
    filling.fill(writer, group, rows, datasets, overtaken=overtaken)


def join(
    writer: StoreWriter, columns: Sequence[ColumnGroup], values: JoinedValues, rows: Iterable[int] | None = None,
    *, store: Store | None = None,
) -> int:  # fmt: skip
    """Publish what is known about `rows` (None, and for a new column: all) in columns that are joined to rows, each a
    group of its own; in how many rows some value changed. A column takes the place of one of its name.

    A block of rows is written anew for the columns in which one of them changed. `values` were made for the rows of
    the snapshot `store` (None: the one published now). Raises Overtaken, with nothing published, if these columns are
    by now others than they were there, or what was written is gone; rows that were added since have no values.
    """
    store = store or writer.snapshot()
    parts, changed, added = list[Part](), 0, list[Added]()
    is_new = any(store.manifest.group(group.fingerprint) is None for group in columns)
    with writer.discarding(parts):
        for start in _starts(len(store), None if is_new else rows):
            stop = min(start + JOINED_BLOCK, len(store))
            datasets, altered = _altered(store, columns, values(start, stop), start, stop)
            if altered.any():
                parts.append(write_part(writer.folder / PARTS, datasets))
                keys = {group.key for group in columns if group.embedded in datasets}
                added.append((Extent(start, stop - start, parts[-1].file, 0), keys))
                changed += int(np.count_nonzero(altered))
        writer.in_turn(partial(_joined, writer, store, columns, parts, added))
    return changed


def drop(writer: StoreWriter, names: Iterable[str]) -> None:
    """Forget the columns named, with all that are filled together with them."""
    doomed = set(names)

    def without(manifest: Manifest) -> None:
        left = [group for group in manifest.columns if doomed.isdisjoint(column.name for column in group.columns)]
        if len(left) < len(manifest.columns):
            publish(writer.folder, manifest.with_columns(left))

    writer.in_turn(without)


def _begun(writer: StoreWriter, group: ColumnGroup, manifest: Manifest) -> ColumnGroup:
    if found := manifest.group(group.fingerprint):
        return found
    taken = any(manifest.column(column.name) for column in group.columns)
    new = group.model_copy(update={"serving": not taken, "extents": ()})
    left = [other for other in manifest.columns if other.serving or other.source != group.source]
    publish(writer.folder, manifest.with_columns([*left, new]))
    return new


def _served(writer: StoreWriter, fingerprint: str, is_whole: bool, manifest: Manifest) -> bool:
    group = manifest.group(fingerprint)
    if group is None or group.serving:
        return False
    before = _of_its_names(manifest, group)
    store = Store(writer.folder, manifest)
    if not is_whole and not all(covers(store, writer.ledger, group, other) for other in before):
        return False
    left = [other for other in manifest.columns if other not in (group, *before)]
    publish(writer.folder, manifest.with_columns([*left, group.model_copy(update={"serving": True})]))
    return True


def _of_its_names(manifest: Manifest, group: ColumnGroup) -> list[ColumnGroup]:
    """The other groups that serve a column of one of the names of `group`."""
    found = (manifest.column(column.name) for column in group.columns)
    return [*{served[0].key: served[0] for served in found if served and served[0].key != group.key}.values()]


def _starts(total: int, rows: Iterable[int] | None) -> list[int]:
    """Where the blocks begin that hold `rows`, or all of `total`."""
    if rows is None:
        return list(range(0, total, JOINED_BLOCK))
    starts: list[int] = np.unique(np.fromiter((row - row % JOINED_BLOCK for row in rows), np.int64)).tolist()
    return [start for start in starts if start < total]


def _altered(
    store: Store, columns: Sequence[ColumnGroup], values: Mapping[str, Values], start: int, stop: int
) -> tuple[dict[str, Values], np.ndarray]:
    """The datasets of those columns that differ from what the store has in a block of rows, and which rows do."""
    datasets: dict[str, Values] = {}
    altered = np.zeros(stop - start, dtype=bool)
    for group in columns:
        (column,) = group.columns
        known = store.manifest.group(group.fingerprint) or group
        before, now = values_of(store.parts, known, column, start, stop), column.empty(stop - start)
        now[:] = values[column.name]
        differs = (before != now) & ~((before != before) & (now != now))  # NaN is what it was
        if differs.any():
            altered |= differs.astype(bool)
            datasets[group.dataset(column)] = now if column.dtype else now.tolist()
            datasets[group.embedded] = np.ones(stop - start, dtype=np.uint8)
    return datasets, altered


def _joined(
    writer: StoreWriter, store: Store, columns: Sequence[ColumnGroup], parts: Sequence[Part], added: Sequence[Added],
    manifest: Manifest,
) -> None:  # fmt: skip
    _require_as_looked_at(store, columns, parts, manifest)
    grown = manifest
    for group in columns:
        own = manifest.group(group.fingerprint) or group.model_copy(update={"extents": (), "serving": True})
        extents = [extent for extent, keys in added if group.key in keys]
        filled = own.model_copy(update={"extents": overlay(own.extents, extents)})
        replaced = {group.key, *(other.key for other in _of_its_names(manifest, group))}
        grown = grown.with_columns([*(other for other in grown.columns if other.key not in replaced), filled])
    if grown.columns != manifest.columns:
        publish(writer.folder, grown.model_copy(update={"parts": {**manifest.parts, **{p.file: p for p in parts}}}))


def _require_as_looked_at(
    store: Store, columns: Sequence[ColumnGroup], parts: Sequence[Part], manifest: Manifest
) -> None:
    """A compaction counts as a change: nobody can tell it from one. It deletes parts that no snapshot names once they
    are a day old: this process has been asleep."""
    names = [group.columns[0].name for group in columns]
    same = all(manifest.group(g.fingerprint) == store.manifest.group(g.fingerprint) for g in columns)
    if not same or not all((store.folder / PARTS / part.file).exists() for part in parts):
        raise Overtaken(
            f"Expected the columns {', '.join(names)} as they were when they were looked at. Another process has "
            "changed them since. Look again."
        )
