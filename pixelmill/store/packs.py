"""Rows put into new parts: gathered into packs, written, and read from there where nothing has changed since."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

import numpy as np

from pixelmill.store.columns import Values
from pixelmill.store.extents import Extent, overlay
from pixelmill.store.manifest import Manifest, Part
from pixelmill.store.master import PARTS
from pixelmill.store.parts import write_part
from pixelmill.store.reader import Store
from pixelmill.store.validate import ENDS, JOINED

Group = tuple[str, ...]
"""Datasets that share their extents, by their names inside the parts."""
Pack = list[tuple[Group, Extent]]
Move = tuple[Extent, Extent]
"""Where some rows lie, and where they lie in a pack."""
Moves = dict[Group, list[Move]]
Change = Callable[[str, Sequence[Extent], Values], Values]
"""Of a dataset by its name the rows of extents, one after the other, as they are to be written."""


def as_it_is(_name: str, _extents: Sequence[Extent], values: Values) -> Values:
    """No change."""
    return values


def packs(manifest: Manifest, chosen: Set[str], most: int) -> Iterator[Pack]:
    """What the `chosen` parts hold that is mapped, in packs of at most `most` bytes."""
    pack: Pack = []
    size = 0
    for names, extents in manifest.datasets():
        for extent, width in _split(manifest, names, (e for e in extents if e.part in chosen), most):
            if pack and size + extent.rows * width > most:
                yield pack
                pack, size = [], 0
            pack.append((names, extent))
            size += extent.rows * width
    if pack:
        yield pack


def _split(
    manifest: Manifest, names: Group, extents: Iterable[Extent], bytes_at_most: int
) -> Iterator[tuple[Extent, int]]:
    """Extents that one pack can take, each with the bytes of a row."""
    for extent in extents:
        width = _row_bytes(manifest.parts[extent.part], names)
        most = max(bytes_at_most // width, 1)
        for start in range(extent.row, extent.end, most):
            yield extent.cut(start, min(start + most, extent.end)), width


def _row_bytes(part: Part, names: Group) -> int:
    """What a row of a group of datasets takes in a part, its texts as long as they are there on average. They lie in it
    twice."""
    arrays = part.arrays
    rows = next(arrays[name].shape[0] for name in (names[0], names[0] + ENDS) if name in arrays)
    texts = sum(2 * arrays[name + JOINED].nbytes for name in names if name + JOINED in arrays)
    return -(-(texts + sum(arrays[name].nbytes for name in names if name in arrays)) // rows)


def write_pack(store: Store, pack: Pack, change: Change = as_it_is) -> tuple[Part, Moves]:
    """A new part with what a pack has of a snapshot, each dataset as `change` leaves it; and what it moves there."""
    groups: dict[Group, list[Extent]] = {}
    for names, extent in pack:
        groups.setdefault(names, []).append(extent)
    datasets = {
        name: change(name, extents, _gathered(store, name, extents))
        for names, extents in groups.items() for name in names
    }  # fmt: skip
    part = write_part(store.folder / PARTS, datasets)
    return part, {names: _moved(extents, part.file) for names, extents in groups.items()}


def _gathered(store: Store, name: str, extents: Sequence[Extent]) -> Values:
    if name in store.manifest.texts():
        return [text for extent in extents for text in store.parts.texts(extent, name)]
    return np.concatenate([store.parts.array(extent, name) for extent in extents])


def _moved(extents: Sequence[Extent], part: str) -> list[Move]:
    offsets = np.cumsum([0, *(extent.rows for extent in extents)])
    return [(e, Extent(e.row, e.rows, part, int(offset))) for e, offset in zip(extents, offsets, strict=False)]


def relinked(manifest: Manifest, part: Part, moves: Moves) -> Manifest | None:
    """The manifest with those rows of a pack read from `part` that lie still where they were; None if none do."""
    extents = {names: _still(manifest, names, group) for names, group in moves.items()}
    if not any(extents.values()):
        return None

    def over(names: Group, old: tuple[Extent, ...]) -> tuple[Extent, ...]:
        return overlay(old, extents.get(names, []))

    (identity_names, identity), (location_names, location), *_ = manifest.datasets()
    matrices = tuple(
        m.model_copy(update={"extents": over((m.vectors, m.embedded), m.extents)}) for m in manifest.matrices
    )
    columns = tuple(g.model_copy(update={"extents": over(g.names, g.extents)}) for g in manifest.columns)
    return manifest.model_copy(
        update={
            "identity": over(identity_names, identity),
            "location": over(location_names, location),
            "matrices": matrices,
            "columns": columns,
            "parts": {**manifest.parts, part.file: part},
        }
    )


def _still(manifest: Manifest, names: Group, moves: Sequence[Move]) -> list[Extent]:
    """The new places of those rows that are mapped as they were; others have been written anew since, or dropped."""
    mapped = next((extents for group, extents in manifest.datasets() if group == names), ())
    rows = [extent.row for extent in mapped]
    return [
        new.cut(max(now.row, was.row), min(now.end, was.end))
        for was, new in moves
        for now in mapped[max(bisect_right(rows, was.row) - 1, 0) : bisect_left(rows, was.end)]
        if now.end > was.row and now.part == was.part and now.offset - now.row == was.offset - was.row
    ]
