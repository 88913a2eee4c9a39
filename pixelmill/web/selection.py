"""Pictures that somebody has picked: which they are, and all that is known of them as a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelmill.formatting import printable
from pixelmill.search.places import Place
from pixelmill.store.manifest import LOCATION
from pixelmill.store.reader import BLOCK, Store
from pixelmill.web.labels import given
from pixelmill.web.originals import NoSuchRow

MOST: Final = 100_000
"""Pictures that are picked at once."""
_AT_ONCE: Final = 500
"""Lines of a table that are in memory: a text of each may have 64 KiB."""


class Named(NamedTuple):
    """A picture by its content, and where it is."""

    sha256: bytes
    source: str
    path: str

    @property
    def shown(self) -> str:
        """Its file, for people to read."""
        return printable(Place(self.source, self.path).absolute)


def named(store: Store, rows: Sequence[int]) -> dict[int, Named]:
    """Each of `rows`, in ascending order. Raises NoSuchRow."""
    wanted = np.unique(np.array(rows, np.int64))
    if len(wanted) and not (wanted[0] >= 0 and wanted[-1] < len(store)):
        odd = wanted[-1] if wanted[0] >= 0 else wanted[0]
        raise NoSuchRow(f"Expected a row from 0 to {len(store) - 1}. Got {odd}.")
    found = dict[int, Named]()
    for some in _near(wanted):
        first, stop = int(some[0]), int(some[-1]) + 1
        digests = store.sha256(first, stop)
        paths, sources = (store.texts(name, first, stop) for name in LOCATION)
        for row in some.tolist():
            at = row - first
            found[row] = Named(digests[at].tobytes(), os.fsdecode(sources[at]), os.fsdecode(paths[at]))
    return found


def _near(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Ascending rows in pieces that lie close together."""
    ends = np.flatnonzero((np.diff(rows) > 64) | (np.diff(rows // BLOCK) > 0)) + 1
    for start, stop in pairwise([0, *ends.tolist(), len(rows)]):
        if stop > start:
            yield rows[start:stop]


def table(
    store: Store, rows: Sequence[int], scores: Sequence[float | None], label: tuple[str, str] | None
) -> Iterator[bytes]:
    """A CSV file of `rows` in their order: which picture it is, its size, its score if any has one, each label and
    column of the store, and `label`, a name and a value that all of them get. Names that are no UTF-8 are escaped."""
    extra = dict([label]) if label else {}
    labels = {name: values for name, values in given(store.folder).items() if name not in extra}
    columns = [name for name in store.columns if name not in labels and name not in extra]
    scored = any(score is not None for score in scores)
    head = ["row", "sha256", "source", "path", "width", "height", *(["score"] if scored else []), *extra, *labels]
    yield _lines([[*head, *columns]])
    for start in range(0, len(rows), _AT_ONCE):
        some = np.array(rows[start : start + _AT_ONCE], np.int64)
        places = named(store, some.tolist())
        values = {name: _told(store, name, some) for name in [*labels, *columns] if name in store.columns}
        lines = []
        for i, row in enumerate(some.tolist()):
            place = places[row]
            score = scores[start + i] if scored else None
            lines.append([
                row, place.sha256.hex(), printable(place.source), printable(place.path),
                int(store.widths[row]), int(store.heights[row]),
                *(["" if score is None else f"{score:.6g}"] if scored else []), *extra.values(),
                *(_label(labels[name], place.sha256, values.get(name), i) for name in labels),
                *(values[name][i] for name in columns),
            ])  # fmt: skip
        yield _lines(lines)


def _label(values: Mapping[bytes, str], sha256: bytes, joined: Sequence[object] | None, at: int) -> object:
    """What somebody called a picture; else what the column says."""
    return values.get(sha256) or (joined[at] if joined else "")


def _told(store: Store, name: str, rows: NDArray[np.int64]) -> list[object]:
    column = store.columns.about(name)[1]
    return ["" if (value := column.plain(one)) is None else value for one in store.columns.take(name, rows)]


def _lines(lines: Sequence[Sequence[object]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue().encode()
