"""`pixelmill.Store`: one snapshot of a store, to be read, searched, turned into a table and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.api import tables
from pixelmill.api.loaded import warm_searcher
from pixelmill.api.names import AnyPath, Models, name_of, several, specs_of
from pixelmill.api.results import SearchResults
from pixelmill.api.settings import finder, open_cache, settings_of
from pixelmill.api.terms import Pictures, Rows, Texts, terms_of
from pixelmill.api.thumbnails import Shown, gallery
from pixelmill.devices import resolve_device
from pixelmill.errors import QueryError, StoreError
from pixelmill.formatting import number_of, printable
from pixelmill.models.base import ModelSpec
from pixelmill.paths import local_path
from pixelmill.report.html import text as as_text
from pixelmill.search.filters import Filters, allowed_rows
from pixelmill.search.places import places_of
from pixelmill.search.searcher import Searcher
from pixelmill.store import reader
from pixelmill.store.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SHOWN: Final = 12
"""Pictures of a store in a notebook, spread over its rows."""


class Store(reader.Store):
    """One snapshot of the store in a folder; open it again to see later commits.

    `store[model]` is the matrix of a model, an array-like (N, dim); `models`, `paths`, `sha256()`, `widths` and
    `heights` say what there is. `device` is where words and pictures are embedded for `search`; `config` a settings
    file for models of one's own and where weights are (docs/python.md).

    Raises StoreError where there is no store; every read raises StoreDamaged instead of returning what is not sound.
    """

    def __init__(
        self, folder: AnyPath, manifest: Manifest | None = None, *, device: str = "cpu", config: AnyPath | None = None
    ) -> None:
        try:
            super().__init__(local_path(folder), manifest)
        except ValueError as error:
            raise StoreError(f"{error}.") from error
        self._device = device
        self._config = config
        self._own: dict[str, ModelSpec] = {}

    def search(
        self, text: Texts | None = None, *, image: Pictures | None = None, row: Rows | None = None,
        where: str | None = None, k: int = 10, model: Models | None = None, weights: Sequence[float] | None = None,
        copies: bool = False, exact: bool = False, min_score: float | None = None,
    ) -> SearchResults:  # fmt: skip
        """The `k` pictures nearest to the sum of all that is asked for, each at length 1, best first.

        text, image, row: One, or a list; of a pair (what, weight) a negative weight subtracts. Words may say so too, as
            on the command line: "-people", "2:red bike". Images are what `embed` takes. Rows do not find themselves.
        where: A condition in SQL that results fulfil: "label = 'dog' AND path LIKE '2024/%'". Columns: those of the
            store, and row, path, source, sha256, width, height, bytes, modified.
        model: By name; several are searched side by side, by `weights`. Without one: that which covers most rows,
            among those that understand words if `text` is given.
        copies: Show pictures that look the same one by one. exact: Compare with every row, even if there is an index.
        min_score: Leave out what has a lower score.

        Raises QueryError for what cannot be answered as it was asked; NoTextTower for words that no model of the store
        understands; WeightsError where the model that made the matrix is not to be had.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise QueryError(f"Expected one result or more. Got k = {k!r}.")
        chosen = several(model)
        self._own |= specs_of(chosen)
        found = self._searcher.search(
            terms_of(text, image, row), k, Filters(where=where),
            models=tuple(map(name_of, chosen)), weights=weights, copies=copies, exact=exact,
            min_score=min_score,
        )  # fmt: skip
        return SearchResults(found, self)

    def rows_where(self, where: str) -> NDArray[np.int64]:
        """The rows whose file is there and that fulfil a condition in SQL, ascending: `store[model][rows]` are their
        vectors. Raises QueryError."""
        return np.flatnonzero(allowed_rows(self, Filters(where=where)))

    def to_pandas(
        self, *, vectors: str | Sequence[str] = (), columns: str | Sequence[str] | None = None, where: str | None = None
    ) -> pd.DataFrame:  # fmt: skip
        """A line for each row whose file is there, and that fulfils `where`: row, path, source, sha256, width, height.

        vectors: Models or kept ensembles: each is a column of arrays (dim,), None where there is no vector.
        columns: Those of the store that go with them, all unless some are named: float64, Int64, datetime64[ms] for
            times, texts. One by the name of another column here is called `columns/<name>`.
        """
        return tables.frame(self, self._listed(where), _names(vectors), None if columns is None else _names(columns))

    def to_arrow(
        self, *, vectors: str | Sequence[str] = (), columns: str | Sequence[str] | None = None, where: str | None = None
    ) -> pa.Table:  # fmt: skip
        """Like `to_pandas`, as a table of Arrow's: fixed-size lists, doubles, int64, timestamps of milliseconds without
        a zone, strings; null where there is none."""
        return tables.arrow(self, self._listed(where), _names(vectors), None if columns is None else _names(columns))

    def __repr__(self) -> str:
        models = ", ".join(f"{name} ({self[name].shape[1]})" for name in self.models)
        return f"<Store {printable(str(self.folder))}: {number_of(len(self), 'row')}, {models or 'no model'}>"

    def _repr_html_(self) -> str:
        there = np.flatnonzero(self.present)
        some = there[np.linspace(0, len(there) - 1, min(_SHOWN, len(there))).astype(int)].tolist()
        places = places_of(self, some)
        shown = [Shown([place.file for place in places[row]], f"row {row} · {places[row][0].path}") for row in some]
        counts = f"{number_of(len(self), 'row')}, {len(there):,} with a file"
        name = as_text(str(self.folder))
        return f"<div><p><b>{name}</b>: {counts}</p>{self._matrices()}{gallery(shown)}</div>"

    def __reduce__(self) -> tuple[Any, ...]:
        """By its folder: another process maps the files itself."""
        return partial(Store, device=self._device, config=self._config), (self.folder, self.manifest)

    @cached_property
    def _searcher(self) -> Searcher:
        settings = settings_of(self._config)
        device = self._device if self._device == "cpu" else resolve_device(self._device)
        return warm_searcher(self, finder(settings, self._own), open_cache(settings), device)

    def _listed(self, where: str | None) -> NDArray[np.int64]:
        return np.flatnonzero(self.present) if where is None else self.rows_where(where)

    def _matrices(self) -> str:
        """A table of what each model has here."""
        rows = []
        for name in self.models:
            view = self[name]
            cells = (name, view.shape[1], view.dtype, f"{view.embedded.sum():,}", view.provenance.precision)
            rows.append("".join(f"<td>{as_text(str(cell))}</td>" for cell in cells))
        head = "".join(f"<th>{name}</th>" for name in ("model", "dim", "stored as", "vectors", "precision"))
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>" if rows else ""


def _names(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else list(given)
