"""Is exact search as fast as the memory, and what does an index give up for its speed?

    python -m benchmarks.search [--rows 1000000] [--dim 512] [--turns 7] [--keep FOLDER]

Over made-up float16 vectors around 1,000 centres that overlap in 32 dims, with noise in all, warm in the file cache; in
turns, median and best of each:

    sum          a plain sum over the same bytes by NumPy, as uint64, with a thread a core: what memory gives
    exact        the ten nearest to one query; its share of the sum's bandwidth
    first        the first search of a process: lengths of all vectors, then the same
    batch        the ten nearest to 32 queries in one pass
    faiss flat   IndexFlatIP over the same vectors as float32; over a tenth of them, times ten, where memory is short
    where        conditions in SQL over a width, a number and a caption, beside making a list of the captions alone
    index        recall at ten and latency, by the number of lists looked into, as a table and docs/search.svg
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import plot
from benchmarks.scale import content_of, file_of, provenance
from pixelmill.models.weights import WeightsCache
from pixelmill.search.ann import open_index, update_index
from pixelmill.search.exact import top_k
from pixelmill.search.norms import Norms
from pixelmill.search.query import Row
from pixelmill.search.searcher import Searcher
from pixelmill.search.where import rows_where
from pixelmill.store.column_writer import join
from pixelmill.store.columns import Column, ColumnGroup, ColumnKind, Values
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.rows import ShardRows, Vectors

CENTRES, SHARD, BATCH, K = 1000, 65_536, 32, 10
INNER, NOISE = 32, 0.1
"""Embeddings lie near a surface of few dims: so many, with some noise in all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--plots", type=Path, default=Path("docs"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-search-") as scratch:
        folder = (given.keep or Path(scratch)) / "store"
        if not folder.exists():
            fill(folder, given.rows, given.dim)
        view = Store(folder)["made-up"]
        exact(view, given.turns)
        faiss_flat(view, given.turns)
        conditions(folder, given.turns)
        approximate(folder, given.plots)


def fill(folder: Path, rows: int, dim: int) -> None:
    made = provenance("made-up").model_copy(update={"dim": dim})
    with StoreWriter(folder) as writer:
        matrix = writer.matrix(made, "float16")
        for start in range(0, rows, SHARD):
            values = vectors(start, min(SHARD, rows - start), dim)
            contents = [content_of(file_of("/photos", start + n)) for n in range(len(values))]
            writer.commit(ShardRows(contents, {matrix.provenance.fingerprint: Vectors(np.arange(len(values)), values)}))


def vectors(seed: int, number: int, dim: int) -> np.ndarray:
    """Around centres that are always the same, and that overlap."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed + 1)
    centres, shape = fixed.standard_normal((CENTRES, INNER), np.float32), (number, INNER)
    inner = centres[random.integers(0, CENTRES, number)] + random.standard_normal(shape, np.float32)
    return inner @ fixed.standard_normal((INNER, dim), np.float32) + NOISE * random.standard_normal(
        (number, dim), np.float32
    )


def queries(number: int, dim: int) -> np.ndarray:
    values = vectors(10**9, number, dim)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def exact(view: MatrixView, turns: int) -> None:
    """Print the scan beside the sum."""
    arrays = [view.store.parts.array(e, view.matrix.vectors).reshape(-1).view(np.uint64) for e in view.matrix.extents]
    asked = queries(BATCH, view.shape[1])
    size = sum(array.nbytes for array in arrays) / 1e9
    summed(arrays)
    first = timed(lambda: top_k(view, asked[:1], K))
    norms = Norms()
    top_k(view, asked[:1], K, norms=norms)
    turn = [
        (timed(lambda: summed(arrays)), timed(lambda: top_k(view, asked[:1], K, norms=norms))) for _ in range(turns)
    ]
    sums, scans = zip(*turn, strict=True)
    batch = min(timed(lambda: top_k(view, asked, K, norms=norms)) for _ in range(2))
    print(f"{view.shape[0]:,} x {view.shape[1]} {view.dtype}: {size:.2f} GB, {len(os.sched_getaffinity(0))} cores")
    for name, numbers in (("sum", sums), ("exact", scans)):
        best, middle = min(numbers), statistics.median(numbers)
        print(f"{name}: best {1000 * best:.1f} ms ({size / best:.1f} GB/s), median {1000 * middle:.1f} ms")
    share = statistics.median(a / b for a, b in turn)
    print(f"exact at {min(sums) / min(scans):.0%} of the bandwidth, best by best; {share:.0%} in the median turn")
    opened = Searcher(view.store.folder, cache=WeightsCache(Path("none"), offline=True))
    whole = timed(lambda: opened.search([Row(0)], K, exact=True, copies=True))
    again = min(timed(lambda: opened.search([Row(0)], K, exact=True, copies=True)) for _ in range(turns))
    print(f"Searcher: first {1000 * whole:.0f} ms after opening, then {1000 * again:.0f} ms")
    print(f"first: {1000 * first:.0f} ms; {BATCH} queries in one pass: {1000 * batch:.0f} ms", flush=True)


def summed(arrays: list[np.ndarray]) -> int:
    """A plain sum over the bytes, by a thread a core."""
    pieces = [piece for array in arrays for piece in np.array_split(array, 64)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return sum(pool.map(lambda piece: int(piece.sum()), pieces))


def faiss_flat(view: MatrixView, turns: int) -> None:
    """Print what faiss needs for the same question, if the float32 copy that it takes fits into memory."""
    import faiss

    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    factor = 1 if 6 * view.shape[0] * view.shape[1] < available else 10
    index = faiss.IndexFlatIP(view.shape[1])
    for start in range(0, view.shape[0] // factor, SHARD):
        values = view.read(start, min(start + SHARD, view.shape[0] // factor)).astype(np.float32)
        index.add(values / np.linalg.norm(values, axis=1, keepdims=True))
    asked = queries(BATCH, view.shape[1])
    one = factor * min(timed(lambda: index.search(asked[:1], K)) for _ in range(turns))
    many = factor * min(timed(lambda: index.search(asked, K)) for _ in range(2))
    print(f"faiss flat: {1000 * one:.1f} ms; {BATCH} queries: {1000 * many:.0f} ms (x {factor})", flush=True)


def conditions(folder: Path, turns: int) -> None:
    """Print how long conditions take over all rows, and the memory that they take at most."""
    if "caption" not in Store(folder).columns:
        with StoreWriter(folder) as writer:
            join(writer, [group("caption", "text"), group("stars", "int64")], made_up)
    store = Store(folder)
    alone = min(timed(lambda: store.columns["caption"]) for _ in range(turns))
    print(f"captions as a list: {1000 * alone:.0f} ms")
    for where in ("width > 100", "stars = 3", "caption LIKE '%horse 77%'", "caption = 'A horse 12345 by the sea'"):
        rows_where(store, where)
        tracemalloc.start()
        found = int(rows_where(store, where).sum())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        best = min(timed(partial(rows_where, store, where)) for _ in range(turns))
        print(f"{where}: {found:,} rows, {1000 * best:.0f} ms, {best / alone:.2f} of the list, {most / 1e6:.0f} MB")


def group(name: str, kind: ColumnKind) -> ColumnGroup:
    return ColumnGroup(source="benchmark", version="1", columns=(Column(name=name, kind=kind),))


def made_up(start: int, stop: int) -> dict[str, Values]:
    """A caption and a number of stars for each row."""
    return {"caption": [b"A horse %d by the sea" % row for row in range(start, stop)],
            "stars": np.arange(start, stop) % 6}  # fmt: skip


def approximate(folder: Path, plots: Path) -> None:
    """Print and draw recall and latency by lists looked into."""
    start = time.perf_counter()
    done = update_index(folder, "made-up")
    print(f"index: {done.rows:,} rows in {time.perf_counter() - start:.0f} s, anew: {done.anew}")
    view = Store(folder)["made-up"]
    norms = Norms()
    index = open_index(view, norms)
    assert index is not None
    asked, allowed = queries(200, view.shape[1]), np.ones(len(view), dtype=bool)
    wanted, _ = top_k(view, asked, K, norms=norms)
    points, looked_into = [], 1
    while looked_into <= min(256, index.described.lists):
        index.top_k(asked[0], K, allowed=allowed, looked_into=looked_into)
        latencies, shares = [], []
        for query, truth in zip(asked, wanted, strict=True):
            began = time.perf_counter()
            rows, _ = index.top_k(query, K, allowed=allowed, looked_into=looked_into)
            latencies.append(time.perf_counter() - began)
            shares.append(len(set(truth.tolist()) & set(rows[0].tolist())) / K)
        median = 1000 * statistics.median(latencies)
        print(
            f"  {looked_into:4d} of {index.described.lists} lists: recall {np.mean(shares):.3f}, {median:.2f} ms",
            flush=True,
        )
        points.append((median, float(np.mean(shares))))
        looked_into *= 2
    title = f"Index over {done.rows:,} rows, by lists looked into"
    plot.lines(plots / "search.svg", title, {"recall at 10": points}, x="median latency, ms", y="recall at 10", log="x")


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
