"""How an export is written: vectors and what is known of their rows, as HDF5, NumPy or Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pixelmill.errors import PixelmillError
from pixelmill.store.column_values import arrow_array, arrow_type
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.parts import TEXT
from pixelmill.store.reader import BLOCK, Ensemble, Store

Temporary = Callable[[Path], Path]
"""Where to write a file for the time being."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported: ascending rows of an ensemble, and columns of the store, each in its group."""

    store: Store
    ensemble: Ensemble
    rows: np.ndarray
    columns: Sequence[tuple[ColumnGroup, Column]]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """The wanted rows in pieces, as (where in the output, rows, vectors)."""
        done = 0
        for start in range(0, self.ensemble.shape[0], BLOCK):
            first, last = np.searchsorted(self.rows, [start, start + BLOCK]).tolist()
            here = self.rows[first:last]
            if len(here):
                yield slice(done, done + len(here)), here, self.ensemble.read(start, start + BLOCK)[here - start]
                done += len(here)

    @property
    def description(self) -> dict[str, object]:
        return {
            "models": [m.provenance.model for m in self.ensemble.members],
            "dims": [m.shape[1] for m in self.ensemble.members],
            "fingerprints": [m.provenance.fingerprint for m in self.ensemble.members],
            "weights": self.ensemble.weights,
            "normalized": self.ensemble.normalize,
        }


Writer = Callable[[Wanted, Path, Temporary], None]


def write_h5(wanted: Wanted, out: Path, temporary: Temporary) -> None:
    """Like the store's own file: `vectors`, `row`, `sha256`, `path`, `source`, and `columns/<name>` with attributes."""
    store, rows = wanted.store, wanted.rows
    with h5py.File(temporary(out), "w") as file:
        shape = (len(rows), wanted.ensemble.shape[1])
        vectors = file.create_dataset("vectors", shape=shape, dtype=wanted.ensemble.dtype)
        columns = [(column.name, _h5_column(file, group, column, len(rows))) for group, column in wanted.columns]
        for where, here, values in wanted.blocks():
            vectors[where] = values
            for name, dataset in columns:
                dataset[where] = store.columns.take(name, here)
        vectors.attrs.update(wanted.description)
        file["row"] = rows
        file["sha256"] = store.sha256()[rows]
        file.create_dataset("path", data=store.paths[rows], dtype=TEXT)
        file.create_dataset("source", data=store.sources[rows], dtype=TEXT)


def _h5_column(file: h5py.File, group: ColumnGroup, column: Column, rows: int) -> h5py.Dataset:
    dataset = file.create_dataset(f"columns/{column.name}", shape=(rows,), dtype=column.dtype or TEXT)
    dataset.attrs.update(group.told(column))
    return dataset


def write_npy(wanted: Wanted, out: Path, temporary: Temporary) -> None:
    """The vectors, and a table of their rows beside them. It has no room for columns."""
    # Written, not mapped: a full disk is an error of a write, and kills a process that maps the file.
    store, ensemble, rows = wanted.store, wanted.ensemble, wanted.rows
    header = {"descr": np.lib.format.dtype_to_descr(ensemble.dtype), "fortran_order": False,
              "shape": (len(rows), ensemble.shape[1])}  # fmt: skip
    with temporary(out).open("wb") as matrix:
        np.lib.format.write_array_header_1_0(matrix, header)
        for _, _, values in wanted.blocks():
            matrix.write(np.ascontiguousarray(values).data)
    sha256 = store.sha256()
    table = temporary(out.with_suffix(".csv"))
    with table.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.writer(lines)
        writer.writerow(["row", "sha256", "source", "path"])
        for row in rows:
            writer.writerow(
                [row, bytes(sha256[row]).hex(), os.fsdecode(store.sources[row]), os.fsdecode(store.paths[row])]
            )


def write_parquet(wanted: Wanted, out: Path, temporary: Temporary) -> None:
    """A table, null where nothing is known. A column by a name that is taken stands there as `columns/<name>`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PixelmillError(
            "Expected pyarrow for Parquet. It is not installed: `pip install 'pixelmill[parquet]'`."
        ) from error
    store, ensemble = wanted.store, wanted.ensemble
    width = ensemble.shape[1]
    value = pa.float16() if ensemble.dtype == np.float16 else pa.float32()
    own = [("row", pa.int64()), ("sha256", pa.binary(32)), ("source", pa.string()), ("path", pa.string()),
           ("vector", pa.list_(value, width)), ("source_bytes", pa.binary()), ("path_bytes", pa.binary())]  # fmt: skip
    names = {c.name: f"columns/{c.name}" if c.name in dict(own) else c.name for _, c in wanted.columns}
    fields = [pa.field(names[c.name], arrow_type(c), metadata=group.told(c)) for group, c in wanted.columns]
    schema = pa.schema([*map(pa.field, *zip(*own, strict=True)), *fields],
                       metadata={"pixelmill": json.dumps(wanted.description)})  # fmt: skip
    sha256 = store.sha256()
    with pq.ParquetWriter(temporary(out), schema) as writer:
        for _, here, values in wanted.blocks():
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=value), width)
            (sources, odd_sources), (paths, odd_paths) = map(_texts, (store.sources[here], store.paths[here]))
            columns = [here, [bytes(s) for s in sha256[here]], sources, paths, vectors, odd_sources, odd_paths]
            arrays = [pa.array(c, type=t) if c is not vectors else c for c, (_, t) in zip(columns, own, strict=True)]
            arrays += [arrow_array(c, store.columns.take(c.name, here)) for _, c in wanted.columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _texts(names: Sequence[bytes]) -> tuple[list[str], list[bytes | None]]:
    """Names as UTF-8, with escapes for bytes that are none, and the bytes of those that have such."""
    texts = [name.decode("utf-8", "backslashreplace") for name in names]
    return texts, [None if text.encode() == name else name for name, text in zip(names, texts, strict=True)]
