"""What the rows of a shard add to a store: the datasets of their part, and where the manifest maps these."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.sources.found import FoundFile
from pixelmill.store.columns import ColumnGroup, Values
from pixelmill.store.extents import Extent, extents_of_rows, overlay
from pixelmill.store.manifest import Fillable, Manifest, Matrix, Part
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, Facts, ShardRows, Vectors

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a shard's rows: the snapshot that holds them, how many vectors were left out because their matrix
    had them already, and the copies of contents that nobody has stored: their files stay pending."""

    manifest: Manifest
    dropped: int = 0
    unknown: tuple[FoundFile, ...] = ()


def shard_datasets(manifest: Manifest, shard: ShardRows) -> dict[str, Values]:
    """The datasets of the part of a shard, whose matrices are those of a manifest."""
    datasets = columns(shard.contents)
    for fingerprint, vectors in shard.vectors.items():
        matrix = manifest.matrix(fingerprint)
        if matrix is None:
            raise ValueError(f"Expected vectors of a matrix of the store. Got fingerprint {fingerprint}.")
        datasets |= matrix_datasets(matrix, vectors, len(shard.contents))
    # Those that were dropped meanwhile are not missed: the next run that is asked for facts makes them.
    if shard.facts and (group := manifest.group(shard.facts.fingerprint)):
        datasets |= facts_datasets(group, shard.facts, len(shard.contents))
    return datasets


def columns(contents: Sequence[Content]) -> dict[str, Values]:
    return {
        "images/sha256": np.frombuffer(b"".join(c.sha256 for c in contents), np.uint8).reshape(-1, 32),
        "images/width": np.array([c.width for c in contents], dtype=np.int32),
        "images/height": np.array([c.height for c in contents], dtype=np.int32),
        "images/path": [os.fsencode(c.file.path) for c in contents],
        "images/source": [os.fsencode(c.file.source) for c in contents],
    }


def matrix_datasets(matrix: Matrix, vectors: Vectors, rows: int) -> Mapping[str, np.ndarray]:
    if matrix.dtype == "float16" and len(vectors.values) and np.abs(vectors.values).max() > FLOAT16_MAX:
        raise StoreError(
            f"Vectors of {matrix.provenance.model} do not fit float16 (largest {np.abs(vectors.values).max():.3g}). "
            "Expected a store with vector_dtype = 'float32'."
        )
    values = np.full((rows, matrix.provenance.dim), np.nan, dtype=matrix.dtype)
    values[vectors.index] = vectors.values
    embedded = np.zeros(rows, dtype=np.uint8)
    embedded[vectors.index] = 1
    return {matrix.vectors: values, matrix.embedded: embedded}


def facts_datasets(group: ColumnGroup, facts: Facts, rows: int) -> dict[str, Values]:
    datasets: dict[str, Values] = {}
    for name, column in group.datasets():
        values = column.empty(rows)
        values[facts.index] = facts.values[column.name]
        datasets[name] = values if column.dtype else values.tolist()
    filled = np.zeros(rows, dtype=np.uint8)
    filled[facts.index] = 1
    return {**datasets, group.embedded: filled}


def rows_stored(store: Store, digests: Sequence[bytes]) -> dict[bytes, int]:
    """The rows of those contents that have one, by the store itself: another machine's rows may be missing in a
    ledger that both have written to."""
    stored = np.ascontiguousarray(store.sha256()).view("V32").reshape(-1)
    wanted = np.frombuffer(b"".join(digests), "V32")
    return {stored[row].tobytes(): int(row) for row in np.flatnonzero(np.isin(stored, wanted))}


def with_shard(store: Store, shard: ShardRows, part: Part, rows: np.ndarray) -> Manifest:
    """The manifest of a snapshot with what a shard adds, which lies in `part`: its content i has row `rows[i]`."""
    manifest = store.manifest
    new = np.flatnonzero(rows >= len(store))
    fresh = extents_of_rows(rows[new], new, part.file)
    matrices = tuple(_with_vectors(store, matrix, shard, part, rows) for matrix in manifest.matrices)
    groups = tuple(_with_facts(store, group, shard.facts, part, rows) for group in manifest.columns)
    _check_identity(store, shard.contents, rows)
    known = _now_decoded(store, shard.contents, rows)
    identity = (*extents_of_rows(rows[known], known, part.file), *fresh)
    if not identity and (matrices, groups) == (manifest.matrices, manifest.columns):
        return manifest
    added = {"rows": len(store) + len(new), "matrices": matrices, "columns": groups}
    grown = manifest.model_copy(update=added)
    return with_part(grown, part, identity=identity, location=fresh)


def _check_identity(store: Store, contents: Sequence[Content], rows: np.ndarray) -> None:
    """Refuse to write vectors beside another image's: a ledger that was restored without its store may be wrong."""
    old = np.flatnonzero(rows < len(store))
    if not len(old):
        return
    stored: np.ndarray = store.sha256()[rows[old]]
    given = np.frombuffer(b"".join(contents[i].sha256 for i in old.tolist()), np.uint8).reshape(-1, 32)
    wrong = rows[old[(stored != given).any(axis=1)]]
    if len(wrong):
        raise StoreDamaged(
            f"The ledger of {store.folder} takes {len(wrong)} rows (first: {wrong[0]}) for other images than the "
            f"store holds there. Nothing was written. Run `pixelmill repair {store.folder}`."
        )


def _now_decoded(store: Store, contents: Sequence[Content], rows: np.ndarray) -> np.ndarray:
    """The contents whose row is stored without a size in pixels, and that were decoded this time."""
    candidates = np.array([i for i, c in enumerate(contents) if c.width and rows[i] < len(store)], dtype=np.int64)
    if not len(candidates):
        return candidates
    unsized: np.ndarray = candidates[store.widths[rows[candidates]] == 0]
    return unsized


def _with_vectors(store: Store, matrix: Matrix, shard: ShardRows, part: Part, rows: np.ndarray) -> Matrix:
    vectors = shard.vectors.get(matrix.provenance.fingerprint)
    if vectors is None:
        return matrix
    return matrix.model_copy(update={"extents": _extended(store, matrix, vectors.index, part, rows)})


def _with_facts(store: Store, group: ColumnGroup, facts: Facts | None, part: Part, rows: np.ndarray) -> ColumnGroup:
    """Columns that were begun after the part was written are not in it."""
    if facts is None or facts.fingerprint != group.fingerprint or group.embedded not in part.arrays:
        return group
    return group.model_copy(update={"extents": _extended(store, group, facts.index, part, rows)})


def _extended(store: Store, made: Fillable, index: np.ndarray, part: Part, rows: np.ndarray) -> tuple[Extent, ...]:
    """The extents of a matrix, or of columns, with those of the contents `index` that it lacks."""
    embedded = store.embedded(made)
    lacking = np.array([row >= len(embedded) or not embedded[row] for row in rows[index]], dtype=bool)
    return overlay(made.extents, _spanning(rows, np.sort(index[lacking]), part.file, len(store)))


def already_there(store: Store, shard: ShardRows, rows: np.ndarray) -> int:
    """How many vectors of a shard, whose content i has row `rows[i]`, a snapshot has already."""
    there = 0
    for matrix in store.manifest.matrices:
        if (vectors := shard.vectors.get(matrix.provenance.fingerprint)) is not None:
            old = rows[vectors.index]
            there += int(np.count_nonzero(store.embedded(matrix)[old[old < len(store)]]))
    return there


def _spanning(rows: np.ndarray, index: np.ndarray, part: str, first_new: int) -> tuple[Extent, ...]:
    """Extents for the contents `index`; over new rows they run on through refused images, which are NaN in the part."""
    old, new = index[rows[index] < first_new], index[rows[index] >= first_new]
    if len(new):
        between = np.arange(new[0], new[-1] + 1)
        new = between[rows[between] >= first_new]
    return (*extents_of_rows(rows[old], old, part), *extents_of_rows(rows[new], new, part))


def with_part(
    manifest: Manifest, part: Part, *, identity: Sequence[Extent] = (), location: Sequence[Extent] = ()
) -> Manifest:
    return manifest.model_copy(
        update={
            "identity": overlay(manifest.identity, identity),
            "location": overlay(manifest.location, location),
            "parts": {**manifest.parts, part.file: part},
        }
    )
