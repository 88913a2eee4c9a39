"""Copies of vectors for other tools: contiguous HDF5, NumPy with a table of paths, Parquet."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
    The file appears whole under its name or not at all. Raises StoreError where it cannot be written.

    Names of files are bytes. HDF5 and CSV hold them as they are; read them with errors="surrogateescape". Parquet's
    strings are UTF-8: a byte that is none stands there as `\\xe9`, and `path_bytes` and `source_bytes`, which are null
    elsewhere, hold that name as it is.
    """
    writers: dict[str, Writer] = {
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
    with _whole_or_not_at_all(out) as made:
        write(store, ensemble, rows, made)
    return Exported(made.files, (len(rows), ensemble.shape[1]))


class _Made:
    """Files under temporary names, and the names that they get when all of them are whole."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._temporary: dict[Path, Path] = {}

    def __call__(self, out: Path) -> Path:
        """Where to write `out` for the time being."""
        self._temporary[out] = out.with_name(f".{out.name}.{os.getpid()}.tmp")
        return self._temporary[out]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self._temporary)

    def publish(self) -> None:
        for out, temporary in self._temporary.items():
            temporary.replace(out)

    def discard(self) -> None:
        for temporary in self._temporary.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


Writer = Callable[[Store, Ensemble, np.ndarray, _Made], None]


@contextmanager
def _whole_or_not_at_all(out: Path) -> Iterator[_Made]:
    made = _Made(out)
    try:
        yield made
        made.publish()
    except PixelmillError:
        raise
    except (OSError, RuntimeError) as error:  # h5py raises the latter where it cannot close a file
        raise StoreError(
            f"Expected to write {out}. It cannot be written ({error}); the disk has "
            f"{shutil.disk_usage(out.parent).free:,} bytes free. Nothing is left of it."
        ) from error
    finally:
        made.discard()


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


def _write_h5(store: Store, ensemble: Ensemble, rows: np.ndarray, made: _Made) -> None:
    with h5py.File(made(made.out), "w") as file:
        vectors = file.create_dataset("vectors", shape=(len(rows), ensemble.shape[1]), dtype=ensemble.dtype)
        for where, values in _blocks(ensemble, rows):
            vectors[where] = values
        vectors.attrs.update(_description(ensemble))
        file["row"] = rows
        file["sha256"] = store.sha256()[rows]
        file.create_dataset("path", data=store.paths[rows], dtype=TEXT)
        file.create_dataset("source", data=store.sources[rows], dtype=TEXT)


def _write_npy(store: Store, ensemble: Ensemble, rows: np.ndarray, made: _Made) -> None:
    # Written, not mapped: a full disk is an error of a write, and kills a process that maps the file.
    header = {"descr": np.lib.format.dtype_to_descr(ensemble.dtype), "fortran_order": False,
              "shape": (len(rows), ensemble.shape[1])}  # fmt: skip
    with made(made.out).open("wb") as matrix:
        np.lib.format.write_array_header_1_0(matrix, header)
        for _, values in _blocks(ensemble, rows):
            matrix.write(np.ascontiguousarray(values).data)
    sha256 = store.sha256()
    table = made(made.out.with_suffix(".csv"))
    with table.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.writer(lines)
        writer.writerow(["row", "sha256", "source", "path"])
        for row in rows:
            writer.writerow(
                [row, bytes(sha256[row]).hex(), os.fsdecode(store.sources[row]), os.fsdecode(store.paths[row])]
            )


def _write_parquet(store: Store, ensemble: Ensemble, rows: np.ndarray, made: _Made) -> None:
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
         ("vector", pa.list_(value, width)), ("source_bytes", pa.binary()), ("path_bytes", pa.binary())],
        metadata={"pixelmill": json.dumps(_description(ensemble))},
    )  # fmt: skip
    sha256 = store.sha256()
    with pq.ParquetWriter(made(made.out), schema) as writer:
        for where, values in _blocks(ensemble, rows):
            here = rows[where]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=value), width)
            (sources, odd_sources), (paths, odd_paths) = map(_texts, (store.sources[here], store.paths[here]))
            columns = [here, [bytes(s) for s in sha256[here]], sources, paths, vectors, odd_sources, odd_paths]
            writer.write_batch(
                pa.record_batch(
                    [pa.array(c, type=f.type) if c is not vectors else c for c, f in zip(columns, schema, strict=True)],
                    schema=schema,
                )
            )


def _texts(names: Sequence[bytes]) -> tuple[list[str], list[bytes | None]]:
    """Names as UTF-8, with escapes for bytes that are none, and the bytes of those that have such."""
    texts = [name.decode("utf-8", "backslashreplace") for name in names]
    return texts, [None if text.encode() == name else name for text, name in zip(texts, names, strict=True)]
