"""What rows hold that are to hold nothing, in one snapshot; and which bytes of its parts are nobody's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelmill.store.column_values import are_known
from pixelmill.store.extents import Extent, extents_holding
from pixelmill.store.forgotten import Rows, are_forgotten
from pixelmill.store.manifest import IDENTITY, LOCATION, Manifest
from pixelmill.store.packs import Group
from pixelmill.store.reader import Store
from pixelmill.store.validate import ENDS, JOINED


class Remains(NamedTuple):
    """Rows that still hold something in datasets, as these are mapped from `extent`."""

    names: Group
    extent: Extent
    rows: Rows


def remains(store: Store, rows: Rows) -> Iterator[Remains]:
    """What ascending rows still hold of what was known of a picture, and its vectors."""
    for names, extents in store.manifest.datasets():
        for extent, first, last in extents_holding(extents, rows):
            found = rows[first:last][_hold(store, names, extent)[rows[first:last] - extent.row]]
            if len(found):
                yield Remains(names, extent, found)


def _hold(store: Store, names: Group, extent: Extent) -> NDArray[np.bool_]:
    """(rows,): which rows of an extent hold anything in a group of datasets."""
    parts = store.parts
    if names == IDENTITY:
        sha256, *sizes = (parts.array(extent, name) for name in names)
        held: NDArray[np.bool_] = ~are_forgotten(sha256) | (sizes[0] != 0) | (sizes[1] != 0)
        return held
    if names == LOCATION:
        path, source = (parts.filled(extent, name) for name in names)
        either: NDArray[np.bool_] = path | source
        return either
    group = next((group for group in store.manifest.columns if group.names == names), None)
    if group:
        known = [are_known(parts, extent, dataset, column) for dataset, column in group.datasets()]
        any_known: NDArray[np.bool_] = np.logical_or.reduce(known)
        return any_known
    vectors, embedded = (parts.array(extent, name) for name in names)
    filled: NDArray[np.bool_] = (embedded != 0) | ~np.isnan(vectors).all(axis=1)
    return filled


def parts_with_more(manifest: Manifest) -> set[str]:
    """The parts in use that hold more than is mapped from them: what was dropped, or has been written anew since. Of
    whom that is, nobody knows any more."""
    mapped: dict[tuple[str, str], int] = defaultdict(int)
    for names, extents in manifest.datasets():
        for extent in extents:
            for name in names:
                mapped[extent.part, name] += extent.rows
    return {
        part
        for part in manifest.used_parts()
        for name, layout in manifest.parts[part].arrays.items()
        if not name.endswith(JOINED) and mapped[part, name.removesuffix(ENDS)] != layout.shape[0]
    }
