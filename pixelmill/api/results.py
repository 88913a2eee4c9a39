"""What a search found, as it is worked with and worth seeing in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from pixelmill.api.thumbnails import Shown, gallery
from pixelmill.formatting import printable
from pixelmill.report.html import text
from pixelmill.search.searcher import Found, Hit

if TYPE_CHECKING:
    import pandas as pd

    from pixelmill.store.reader import Store

_TOLD = 20
"""Hits in a `repr`."""
_SHOWN = 24
"""Hits with a thumbnail in a notebook."""


class SearchResults(Sequence[Hit]):
    """The hits of a search, best first, as a sequence; in a notebook they show their pictures.

    A `Hit` has `row`, `score` (the cosine), `path`, `source`, `absolute`, `width`, `height`, `copies` (rows that look
    the same) and `places` (all files that hold the content). `models` says by which, `notes` what should be known.
    """

    def __init__(self, found: Found, store: Store) -> None:
        self._found = found
        self._store = store

    @property
    def hits(self) -> tuple[Hit, ...]:
        return self._found.hits

    @property
    def models(self) -> tuple[str, ...]:
        return self._found.models

    @property
    def model(self) -> str:
        """The models' names in one word."""
        return self._found.model

    @property
    def notes(self) -> tuple[str, ...]:
        return self._found.notes

    @property
    def rows(self) -> NDArray[np.int64]:
        """Their rows: `store[model][results.rows]` are their vectors."""
        return np.array([hit.row for hit in self.hits], np.int64)

    @property
    def scores(self) -> NDArray[np.float32]:
        """Their cosines."""
        return np.array([hit.score for hit in self.hits], np.float32)

    @property
    def paths(self) -> list[str]:
        """Their files, as they are opened."""
        return [hit.absolute for hit in self.hits]

    def to_pandas(self, *, columns: str | Sequence[str] = ()) -> pd.DataFrame:
        """A line a hit: row, score, path, source, width, height, and those columns of the store that are named."""
        from pixelmill.api.tables import columns_at, frame_of

        names = ("row", "score", "path", "source", "width", "height")
        known: dict[str, Any] = {name: [getattr(hit, name) for hit in self.hits] for name in names}
        known |= {name: list(map(printable, known[name])) for name in ("path", "source")}
        chosen = [columns] if isinstance(columns, str) else columns
        return frame_of(known | columns_at(self._store, self.rows, chosen, tuple(known)))

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __repr__(self) -> str:
        return "\n".join([f"<SearchResults: {len(self)} by {self.model}>", *self._lines()])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{text(note)}</p>" for note in self.notes)
        shown = [Shown([place.file for place in hit.places], _caption(hit)) for hit in self.hits[:_SHOWN]]
        more = f"<p>… and {len(self) - _SHOWN:,} more.</p>" if len(self) > _SHOWN else ""
        return f"<div><p>{len(self)} results by <b>{text(self.model)}</b></p>{notes}{gallery(shown)}{more}</div>"

    def _lines(self) -> Iterator[str]:
        for hit in self.hits[:_TOLD]:
            yield f"{hit.score:.4f}  row {hit.row}  {printable(hit.absolute)}"
        if len(self) > _TOLD:
            yield f"… and {len(self) - _TOLD:,} more"


def _caption(hit: Hit) -> str:
    return f"{hit.score:.3f} · row {hit.row} · {hit.path or hit.source}"
