"""Copies of vectors for other tools: contiguous HDF5, NumPy with a table of paths, Parquet."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pixelmill.errors import PixelmillError, StoreError
from pixelmill.store.parts import TEXT
from pixelmill.store.reader import BLOCK, Ensemble, Store


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the files, and the shape of the matrix in them."""

    files: tuple[Path, ...]
    shape: tuple[int, int]


def export(store: Store, ensemble: Ensemble, out: Path) -> Exported:
    """Write the rows that every member has and whose file is there, in row order, to OUT.h5, OUT.npy or OUT.parquet.

    Beside an .npy goes a .csv of the same name with row, sha256, source and path of each line of the matrix.
    The file appears whole under its name or not at all.
    """
    writers: dict[str, Callable[[Store, Ensemble, np.ndarray, Path], tuple[Path, ...]]] = {
        ".h5": _write_h5,
        ".hdf5": _write_h5,
        ".npy": _write_npy,
        ".parquet": _write_parquet,
    }
    write = writers.get(out.suffix.lower())
    if write is None:
        raise StoreError(f"Expected OUT to end in .h5, .npy or .parquet. Got {out.name!r}.")
    if not out.parent.is_dir():
        raise StoreError(f"Expected a folder to write {out.name} into. {out.parent} does not exist.")
    rows = np.flatnonzero(ensemble.embedded & (store.paths != b""))
    return Exported(write(store, ensemble, rows, out), (len(rows), ensemble.shape[1]))


def _blocks(ensemble: Ensemble, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The wanted rows in pieces, as (where in the output, values)."""
    done = 0
    for start in range(0, ensemble.shape[0], BLOCK):
        wanted = rows[(rows >= start) & (rows < start + BLOCK)] - start
        if len(wanted):
            yield slice(done, done + len(wanted)), ensemble.read(start, start + BLOCK)[wanted]
            done += len(wanted)


def _description(ensemble: Ensemble) -> dict[str, object]:
    return {
        "models": [m.provenance.model for m in ensemble.members],
        "dims": [m.shape[1] for m in ensemble.members],
        "fingerprints": [m.provenance.fingerprint for m in ensemble.members],
        "weights": ensemble.weights,
        "normalized": ensemble.normalize,
    }


def _write_h5(store: Store, ensemble: Ensemble, rows: np.ndarray, out: Path) -> tuple[Path, ...]:
    temporary = _temporary(out)
    with h5py.File(temporary, "w") as file:
        vectors = file.create_dataset("vectors", shape=(len(rows), ensemble.shape[1]), dtype=ensemble.dtype)
        for where, values in _blocks(ensemble, rows):
            vectors[where] = values
        vectors.attrs.update(_description(ensemble))
        file["row"] = rows
        file["sha256"] = store.sha256()[rows]
        file.create_dataset("path", data=store.paths[rows], dtype=TEXT)
        file.create_dataset("source", data=store.sources[rows], dtype=TEXT)
    return _published({temporary: out})


def _write_npy(store: Store, ensemble: Ensemble, rows: np.ndarray, out: Path) -> tuple[Path, ...]:
    table = out.with_suffix(".csv")
    matrix_part, table_part = _temporary(out), _temporary(table)
    matrix = np.lib.format.open_memmap(matrix_part, "w+", ensemble.dtype, (len(rows), ensemble.shape[1]))
    for where, values in _blocks(ensemble, rows):
        matrix[where] = values
    matrix.flush()
    sha256 = store.sha256()
    with table_part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.writer(lines)
        writer.writerow(["row", "sha256", "source", "path"])
        for row in rows:
            writer.writerow(
                [row, bytes(sha256[row]).hex(), os.fsdecode(store.sources[row]), os.fsdecode(store.paths[row])]
            )
    return _published({matrix_part: out, table_part: table})


def _write_parquet(store: Store, ensemble: Ensemble, rows: np.ndarray, out: Path) -> tuple[Path, ...]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PixelmillError(
            "Expected pyarrow for Parquet. It is not installed: `pip install 'pixelmill[parquet]'`."
        ) from error
    import json

    width = ensemble.shape[1]
    value = pa.float16() if ensemble.dtype == np.float16 else pa.float32()
    schema = pa.schema(
        [("row", pa.int64()), ("sha256", pa.binary(32)), ("source", pa.string()), ("path", pa.string()),
         ("vector", pa.list_(value, width))],
        metadata={"pixelmill": json.dumps(_description(ensemble))},
    )  # fmt: skip
    sha256, temporary = store.sha256(), _temporary(out)
    with pq.ParquetWriter(temporary, schema) as writer:
        for where, values in _blocks(ensemble, rows):
            here = rows[where]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=value), width)
            columns = [here, [bytes(s) for s in sha256[here]], store.sources[here], store.paths[here], vectors]
            writer.write_batch(
                pa.record_batch(
                    [pa.array(c, type=f.type) if c is not vectors else c for c, f in zip(columns, schema, strict=True)],
                    schema=schema,
                )
            )
    return _published({temporary: out})


def _temporary(out: Path) -> Path:
    return out.with_name(f".{out.name}.{os.getpid()}.tmp")


def _published(files: dict[Path, Path]) -> tuple[Path, ...]:
    for temporary, out in files.items():
        temporary.replace(out)
    return tuple(files.values())
