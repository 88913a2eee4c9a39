"""Copies of vectors and columns for other tools: contiguous HDF5, NumPy with a table of paths, Parquet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelmill.errors import PixelmillError, StoreError
from pixelmill.store.export_files import Wanted, Writer, write_h5, write_npy, write_parquet
from pixelmill.store.reader import Ensemble, Store

_WRITERS: dict[str, Writer] = {".h5": write_h5, ".hdf5": write_h5, ".npy": write_npy, ".parquet": write_parquet}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the files, the shape of the matrix in them, the columns beside it, and those left out."""

    files: tuple[Path, ...]
    shape: tuple[int, int]
    columns: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def export(
    store: Store, ensemble: Ensemble, out: Path, *, columns: Sequence[str] | None = None,
    passing: np.ndarray | None = None,
) -> Exported:  # fmt: skip
    """Write the rows that every member has and whose file is there, in row order, to OUT.h5, OUT.npy or OUT.parquet;
    of these only those that are `passing` (N,).

    `columns` of the store go with them, all unless some are named; an .npy has room for none. Beside an .npy goes a
    .csv of the same name with row, sha256, source and path of each line of the matrix. The file appears whole under its
    name or not at all. Raises StoreError where it cannot be written, UnknownColumn for a column that is not there.

    Names of files are bytes. HDF5 and CSV hold them as they are; read them with errors="surrogateescape". Parquet's
    strings are UTF-8: a byte that is none stands there as `\\xe9`, and `path_bytes` and `source_bytes`, which are null
    elsewhere, hold that name as it is.
    """
    write = _WRITERS.get(out.suffix.lower())
    if write is None:
        raise StoreError(f"Expected OUT to end in .h5, .npy or .parquet. Got {out.name!r}.")
    if write is write_npy and columns:
        raise StoreError(
            f"Expected OUT to end in .h5 or .parquet. Got {out.name!r}: .npy holds vectors, and no columns."
        )
    if not out.parent.is_dir():
        raise StoreError(f"Expected a folder to write {out.name} into. {out.parent} does not exist.")
    names = tuple(dict.fromkeys(store.columns if columns is None else columns))
    left_out = names if write is write_npy else ()
    told = [store.columns.about(name) for name in names if name not in left_out]
    rows = ensemble.embedded & (store.paths != b"")
    wanted = Wanted(store, ensemble, np.flatnonzero(rows if passing is None else rows & passing), told)
    with _whole_or_not_at_all(out) as made:
        write(wanted, out, made)
    return Exported(made.files, (len(wanted.rows), ensemble.shape[1]), tuple(c.name for _, c in told), left_out)


class _Made:
    """Files under temporary names, and the names that they get when all of them are whole."""

    def __init__(self) -> None:
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


@contextmanager
def _whole_or_not_at_all(out: Path) -> Iterator[_Made]:
    made = _Made()
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
