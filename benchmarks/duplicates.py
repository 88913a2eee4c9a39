"""How long does it take to group the look-alikes of a store, and in how much memory?

    python -m benchmarks.duplicates [--rows 200000] [--dim 512] [--new 1000] [--keep FOLDER]

Over made-up float16 vectors around 1,000 centres that overlap (benchmarks/search.py), of which one in ten has a
look-alike planted elsewhere, at a cosine of 0.985. Each in a process of its own, for its peak of memory:

    all      `pixelmill duplicates`: the first time, all rows
    again    the same once more: nothing is new
    new      what a night does for so many rows that are new

`found`: the share of the planted look-alikes that share a group. Up to 200,000 rows all are compared with all; beyond
that the share that was measured is told as well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.scale import content_of, file_of, provenance
from benchmarks.search import SHARD, vectors
from pixelmill.curation.duplicates import find_duplicates
from pixelmill.curation.stars import NOBODY
from pixelmill.store.commit import StoreWriter
from pixelmill.store.rows import ShardRows, Vectors

COSINE, EVERY = 0.985, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--new", type=int, default=1_000)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-duplicates-") as scratch:
        folder = (given.keep or Path(scratch)) / "store"
        if not folder.exists():
            fill(folder, 0, given.rows, given.dim)
        alone("all", folder, 0, given.rows)
        alone("again", folder, 0, given.rows)
        fill(folder, given.rows, given.new, given.dim)
        alone("new", folder, given.rows, given.new)


def fill(folder: Path, first: int, rows: int, dim: int) -> None:
    """Rows from `first` on; every tenth looks like the one that stands half a shard before it."""
    made = provenance("made-up").model_copy(update={"dim": dim})
    with StoreWriter(folder) as writer:
        matrix = writer.matrix(made, "float16")
        scan = writer.ledger.scans.begin()
        for start in range(first, first + rows, SHARD):
            values = vectors(start, min(SHARD, first + rows - start), dim)
            later = planted(len(values))
            values[later] = near(values[later - len(values) // 2], start)
            files = [file_of("/photos", start + n) for n in range(len(values))]
            writer.ledger.scans.record(scan, files)
            stored = Vectors(np.arange(len(values)), values)
            writer.commit(ShardRows(list(map(content_of, files)), {matrix.provenance.fingerprint: stored}))


def planted(rows: int) -> np.ndarray:
    """Which rows of a shard look like one before them."""
    return np.arange(rows // 2 - rows // 2 % -EVERY, rows, EVERY)


def near(values: np.ndarray, seed: int) -> np.ndarray:
    """Vectors at a cosine of COSINE to these, each in another direction."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    noise = np.random.default_rng(seed + 7).standard_normal(values.shape)
    noise -= (noise * unit).sum(axis=1, keepdims=True) * unit
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    result: np.ndarray = (COSINE * unit + (1 - COSINE**2) ** 0.5 * noise).astype(np.float32)
    return result


def alone(what: str, folder: Path, first: int, rows: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=grouped, args=(what, folder, first, rows))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{what}: exit code {process.exitcode}")


def grouped(what: str, folder: Path, first: int, rows: int) -> None:
    began = time.perf_counter()
    with StoreWriter(folder) as writer:
        found = find_duplicates(writer)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    kept = np.where(found.owners == NOBODY, np.arange(len(found.owners)), found.owners)
    together = np.concatenate([kept[one] == kept[other] for one, other in pairs(first, rows)])
    gone = np.count_nonzero(found.owners != NOBODY)
    print(
        f"{what:6} {found.compared:>9,} rows {took:8.1f} s {peak:6.2f} GB peak, "
        f"{gone:,} duplicates, found {together.mean():.4f}, recall {found.recall:.4f}",
        flush=True,
    )


def pairs(first: int, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that were planted, with those that they look like, of so many from `first` on."""
    for start in range(first, first + rows, SHARD):
        number = min(SHARD, first + rows - start)
        yield start + planted(number), start + planted(number) - number // 2


if __name__ == "__main__":
    main()
