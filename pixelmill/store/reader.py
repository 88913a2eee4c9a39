"""Reading a store: one whole snapshot, memory-mapped, checked against its manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pixelmill.errors import StoreError, UnknownModel, nearest
from pixelmill.store.column_values import ColumnValues
from pixelmill.store.extents import clipped, extents_holding
from pixelmill.store.manifest import LOCATION, Fillable, Manifest, Matrix
from pixelmill.store.master import PARTS, home_of, read_manifest
from pixelmill.store.parts import PartFiles
from pixelmill.store.weighting import put_weighted, weighting

BLOCK = 16_384


class Store:
    """One snapshot of the store in a folder. Open again to see later commits.

    Raises StoreError where there is no store; every read raises StoreDamaged instead of returning what is not sound.
    """

    def __init__(self, folder: str | Path, manifest: Manifest | None = None) -> None:
        self.folder = home_of(Path(folder))
        self.manifest = manifest or read_manifest(self.folder)
        self.parts = PartFiles(self.folder / PARTS, self.manifest.parts)

    def __len__(self) -> int:
        return self.manifest.rows

    @property
    def models(self) -> list[str]:
        """The models whose vectors the store serves, sorted."""
        return sorted(m.provenance.model for m in self.manifest.matrices if m.serving)

    @property
    def ensembles(self) -> list[str]:
        """The names of the ensembles that the store keeps, sorted."""
        return sorted(ensemble.name for ensemble in self.manifest.ensembles)

    def __getitem__(self, model: str) -> MatrixView:
        """The served embeddings of `model`. Raises UnknownModel when the store has none."""
        matrix = self.manifest.serving(model)
        if matrix is None:
            raise UnknownModel(
                f"Expected a model with vectors in {self.folder}. Got {model!r}"
                f"{', an ensemble: name it alone, for `concatenated` or a search' if model in self.ensembles else ''}."
                f"{nearest(model, sorted({*self.models, *self.ensembles} - {model}))} "
                f"The store has: {', '.join([*self.models, *self.ensembles]) or 'none'}."
            )
        return MatrixView(self, matrix)

    @cached_property
    def paths(self) -> np.ndarray:
        """Path of each row, relative to its source root: (N,) object array of bytes, b'' when that is gone."""
        return self._texts(LOCATION[0])

    @cached_property
    def sources(self) -> np.ndarray:
        """Source root of each row: (N,) object array of bytes."""
        return self._texts(LOCATION[1])

    @cached_property
    def present(self) -> np.ndarray:
        """(N,) bool: the rows whose content some file holds; found without reading the paths."""
        result = _filled((len(self),), np.dtype(bool), False)
        for extent in self.manifest.location:
            result[extent.row : extent.end] = self.parts.filled(extent, LOCATION[0])
        return result

    def place(self, row: int) -> tuple[str, str]:
        """Where one row's file is: (source root, path relative to it), the path '' when it is gone."""
        source, path = self.location(row)
        return os.fsdecode(source), os.fsdecode(path)

    def location(self, row: int) -> tuple[bytes, bytes]:
        """Like `place`, as the file system spells it."""
        path, source = (bytes(self.texts(name, row, row + 1)[0]) for name in LOCATION)
        return source, path

    @cached_property
    def widths(self) -> np.ndarray:
        """(N,) int32, pixels; 0 for a row that could not be decoded."""
        return self.column("images/width")

    @cached_property
    def heights(self) -> np.ndarray:
        """(N,) int32, pixels; 0 for a row that could not be decoded."""
        return self.column("images/height")

    def sha256(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - start, 32) uint8: the sha256 of each row's file, from row `start` to `stop` or the last."""
        return self.column("images/sha256", start, stop)

    def column(self, dataset: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop` or the last of one of the identity columns; on the file if they lie in one piece."""
        stop = len(self) if stop is None else stop
        pieces = [self.parts.array(piece, dataset) for piece in clipped(self.manifest.identity, start, stop)]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else _empty_column(dataset)

    def texts(self, dataset: str, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of one of the location columns, as an object array of bytes."""
        pieces = list(clipped(self.manifest.location, start, stop))
        for piece in pieces:
            self.parts.check(piece)
        result = _filled((stop - start,), np.dtype(object), b"")
        for piece in pieces:
            result[piece.row - start : piece.end - start] = self.parts.texts(piece, dataset)
        return result

    @cached_property
    def columns(self) -> ColumnValues:
        """What is known of the pictures, by the names of columns: each an array with a value for each row."""
        return ColumnValues(self.manifest, self.parts)

    def own(self, matrix: Matrix) -> Matrix:
        """A matrix, perhaps of another snapshot, as this one has it: without rows if it has none of that fingerprint.

        Where its rows lie may have changed since: a compaction moves them.
        """
        return self.manifest.matrix(matrix.provenance.fingerprint) or matrix.model_copy(update={"extents": ()})

    def embedded(self, matrix: Fillable) -> np.ndarray:
        """(N,) bool: which rows have a vector in `matrix`, as this snapshot has it, or values in a group of columns."""
        own = self.manifest.fillable(matrix.fingerprint)
        extents = own.extents if own else ()
        flags = [(extent, self.parts.array(extent, matrix.embedded)) for extent in extents]
        result = _filled((len(self),), np.dtype(bool), False)
        for extent, values in flags:
            result[extent.row : extent.end] = values != 0
        return result

    def concatenated(
        self, models: Sequence[str], *, weights: Sequence[float] | None = None, normalize: bool = False
    ) -> Ensemble:
        """The rows of several models side by side, in the order named; see `Ensemble`.

        The name of an ensemble that the store keeps stands for its models, with its weights unless others are given.
        """
        kept = self.manifest.ensemble(models[0]) if len(models) == 1 else None
        if kept and not any(m.provenance.model == kept.name and m.serving for m in self.manifest.matrices):
            models, weights = kept.models, kept.weights if weights is None else weights
        return Ensemble([self[model] for model in models], weights=weights, normalize=normalize)

    def _texts(self, dataset: str) -> np.ndarray:
        return self.texts(dataset, 0, len(self))


class MatrixView:
    """The (N, dim) embeddings of one model in one snapshot; rows that are not embedded are NaN.

    An array-like: `view[3]`, `view[10:20]`, `view[[4, 2]]` and `view[mask]` are new arrays of these rows,
    `np.asarray(view)` is all of them, `for start, block in view.blocks()` goes through them in little memory.
    """

    ndim = 2

    def __init__(self, store: Store, matrix: Matrix) -> None:
        self.store = store
        self.matrix = store.own(matrix)
        self.provenance = matrix.provenance
        self.shape = (len(store), matrix.provenance.dim)
        self.dtype = np.dtype(matrix.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """A row (dim,), or rows (number, dim) by a slice, row numbers or a mask (N,). Raises IndexError outside."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self.read(start, max(start, stop)) if step == 1 else self.take(np.arange(start, stop, step))
        if isinstance(rows, int | np.integer):
            row: np.ndarray = self.take([rows + len(self) if rows < 0 else rows])[0]
            return row
        chosen = np.asarray(rows)
        return self.take(np.flatnonzero(chosen) if chosen.dtype == bool else chosen)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Expected to copy: the rows of a matrix lie in several files.")
        return np.asarray(self.read(), dtype=dtype)

    @property
    def paths(self) -> np.ndarray:
        """Path of each row, relative to its source root: (N,) object array of str, '' when that is gone."""
        return np.array([os.fsdecode(path) for path in self.store.paths], dtype=object)

    @property
    def rows(self) -> np.ndarray:
        """The rows that have a vector and whose file is there, int64, ascending: what most users want to look at."""
        return np.flatnonzero(self.embedded & self.store.present)

    @cached_property
    def embedded(self) -> np.ndarray:
        """(N,) bool: which rows have a vector."""
        return self.store.embedded(self.matrix)

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop`, as a new (stop - start, dim) array."""
        stop = len(self) if stop is None else min(stop, len(self))
        pieces = list(clipped(self.matrix.extents, start, stop))
        arrays = [self.store.parts.array(piece, self.matrix.vectors) for piece in pieces]
        result = _filled((max(stop - start, 0), self.shape[1]), self.dtype, np.nan)
        for piece, values in zip(pieces, arrays, strict=True):
            result[piece.row - start : piece.end - start] = values
        return result

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[int, np.ndarray]]:
        """The whole matrix as (first row, (at most `rows`, dim) array), in order."""
        for start in range(0, len(self), rows):
            yield start, self.read(start, start + rows)

    def take(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The given rows, in the order given, as a new (len(rows), dim) array. Raises IndexError outside the store."""
        wanted = np.asarray(rows, dtype=np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"Expected rows from 0 to {len(self) - 1}. Got {wanted.min()} to {wanted.max()}.")
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        gathered, done = np.empty((len(wanted), self.shape[1]), self.dtype), 0
        for extent, first, last in extents_holding(self.matrix.extents, ascending):
            gathered[done:first] = np.nan
            values = self.store.parts.array(extent, self.matrix.vectors)
            # "clip" keeps NumPy from gathering into a buffer first; no row is outside its extent.
            np.take(values, ascending[first:last] - extent.row, axis=0, out=gathered[first:last], mode="clip")
            done = last
        gathered[done:] = np.nan
        if np.array_equal(ascending, wanted):
            return gathered
        result = np.empty_like(gathered)
        result[order] = gathered
        return result


class Ensemble:
    """Several models' rows side by side, in the order named. No inference: the members' stored rows are read.

    `normalize` divides each member's row by its L2 norm before weighting. Each member is multiplied by its weight
    (default 1). A row that any member lacks is NaN in that member's columns.
    """

    def __init__(
        self, members: Sequence[MatrixView], *, weights: Sequence[float] | None = None, normalize: bool = False
    ) -> None:
        self.weights = weighting(weights, len(members))
        self.members = list(members)
        self.normalize = normalize
        self.shape = (len(members[0]), sum(m.shape[1] for m in members))
        self.dtype = np.result_type(*(m.dtype for m in members))

    @property
    def embedded(self) -> np.ndarray:
        """(N,) bool: which rows every member has."""
        everywhere: np.ndarray = np.logical_and.reduce([m.embedded for m in self.members])
        return everywhere

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop`, as a new (stop - start, total dim) array."""
        return self.side_by_side([member.read(start, stop) for member in self.members])

    def side_by_side(self, rows: Sequence[np.ndarray], dtype: np.dtype | None = None) -> np.ndarray:
        """The same rows of each member, as they are stored, as a new (rows, total dim) array of `dtype`, or theirs."""
        result, done = np.empty((len(rows[0]), self.shape[1]), dtype or self.dtype), 0
        for stored, weight in zip(rows, self.weights, strict=True):
            put_weighted(result[:, done : done + stored.shape[1]], stored, weight, normalize=self.normalize)
            done += stored.shape[1]
        return result


def _filled(shape: tuple[int, ...], dtype: np.dtype, value: object) -> np.ndarray:
    """A new array, allocated only after the parts behind it were found: a manifest that lies promises any number."""
    try:
        result = np.zeros(shape, dtype=dtype)
    except (MemoryError, ValueError) as error:
        raise StoreError(f"Expected memory for an array of {shape} {dtype}. Read blocks.") from error
    if value is not False:  # zeros are made without touching the memory
        result[...] = value
    return result


def _empty_column(dataset: str) -> np.ndarray:
    return np.empty((0, 32), np.uint8) if dataset == "images/sha256" else np.empty(0, np.int32)
