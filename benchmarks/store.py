"""Is the store as fast as plain h5py, and a second run as fast as looking at the files?

    python -m benchmarks.store [--rows 100000] [--files 100000] [--turns 3]

Vectors have 512 dims in float32. In turns, best of each:

    writing      shards of 4,096 rows committed one by one, everything durable and published after each, beside one
                 contiguous dataset that h5py writes in the same slices and fsyncs once, at the end
    random rows  1,000 of them by Pixelmill's reader, beside h5py's fancy indexing on the master
    looking      discovery over unchanged files, beside a bare loop of scandir and stat
    second run   discovery, plan and settlement over those files, without Prefect
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from benchmarks.scale import content_of, file_of, provenance
from pixelmill.plan import make_plan
from pixelmill.report.build import build, close
from pixelmill.run.job import Job
from pixelmill.run.scan import scan_sources
from pixelmill.sources.discover import discover
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact_if_needed
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, ShardRows, Vectors

DIM, SHARD, RANDOM = 512, 4096, 1000
MADE = provenance("made-up").model_copy(update={"dim": DIM})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-store-") as name:
        folder = Path(name)
        vectors = np.random.default_rng(0).standard_normal((given.rows, DIM), np.float32)
        written(folder, vectors, given.turns)
        random_rows(folder / "store-0", vectors, given.turns)
        looked_at(folder, given.files, given.turns)


def written(folder: Path, vectors: np.ndarray, turns: int) -> None:
    """Print MB/s of each way of writing."""
    contents = [content_of(file_of("/photos", number)) for number in range(len(vectors))]
    ours = min(timed(lambda turn=turn: commit(folder / f"store-{turn}", contents, vectors)) for turn in range(turns))
    theirs = min(timed(lambda turn=turn: plain(folder / f"plain-{turn}.h5", vectors)) for turn in range(turns))
    size = vectors.nbytes / 1e6
    print(f"writing: ours {size / ours:.0f} MB/s, h5py {size / theirs:.0f} MB/s: {theirs / ours:.2f}", flush=True)


def commit(folder: Path, contents: list[Content], vectors: np.ndarray) -> None:
    """As workers do it."""
    with StoreWriter(folder) as writer:
        matrix = writer.matrix(MADE, "float32")
        for start in range(0, len(vectors), SHARD):
            values = vectors[start : start + SHARD]
            made = {matrix.provenance.fingerprint: Vectors(np.arange(len(values)), values)}
            writer.commit(ShardRows(contents[start : start + SHARD], made))
            compact_if_needed(writer)


def plain(path: Path, vectors: np.ndarray) -> None:
    """As a script does it, if it is careful about the end."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("vectors", vectors.shape, vectors.dtype)
        for start in range(0, len(vectors), SHARD):
            dataset[start : start + SHARD] = vectors[start : start + SHARD]
    with path.open("rb+") as written:
        os.fsync(written.fileno())


def random_rows(folder: Path, vectors: np.ndarray, turns: int) -> None:
    """Print ms for so many rows of each way of reading; both stay open."""
    rows = np.sort(np.random.default_rng(1).choice(len(vectors), RANDOM, replace=False))
    store = Store(folder)["made-up"]
    with h5py.File(folder / "vectors.h5") as file:
        theirs = min(timed(lambda: file["vectors/made-up"][rows]) for _ in range(turns))
        ours = min(timed(lambda: store.take(rows)) for _ in range(turns))
        assert np.array_equal(file["vectors/made-up"][rows], store.take(rows))
    opened = min(timed(lambda: Store(folder)) for _ in range(turns))
    print(f"random rows: ours {1000 * ours:.1f} ms, h5py {1000 * theirs:.1f} ms: {theirs / ours:.0f} times as fast")
    print(f"opening {len(vectors):,} rows: {1000 * opened:.1f} ms", flush=True)


def looked_at(folder: Path, files: int, turns: int) -> None:
    """Print what looking at unchanged files costs."""
    photos = folder / "photos"
    for number in range(files):
        path = photos / file_of("", number).path
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"\xff\xd8\xff\xe0 %d" % number)
    bare = min(timed(lambda: scanned(photos)) for _ in range(turns))
    ours = min(timed(lambda: sum(1 for _ in discover([str(photos)], known=lambda _: True))) for _ in range(turns))
    print(
        f"looking: ours {files / ours:.0f} files/s, scandir and stat {files / bare:.0f}: {bare / ours:.2f}", flush=True
    )
    job = Job(
        sources=(str(photos),), store=folder / "again", specs=(), cache={"cache_dir": folder / "cache"},
        max_pixels=10**9, max_aspect=100.0, max_bytes=10**9,
    )  # fmt: skip
    with StoreWriter(job.store) as writer:
        embed_all(job, writer)
        again = min(timed(lambda: settle(job, writer)) for _ in range(turns))
    print(f"second run over {files:,} files: {again:.1f} s", flush=True)


def embed_all(job: Job, writer: StoreWriter) -> None:
    """A first run, with zeros for embeddings."""
    scan = scan_sources(writer.ledger, job.sources)
    files = [file for file, _ in writer.ledger.worklist.images(scan.number)]
    contents = [Content(file, hashlib.sha256(file.path.encode()).digest(), 500, 375) for file in files]
    commit(job.store, contents, np.zeros((len(files), DIM), np.float32))
    settle(job, writer)


def scanned(folder: Path) -> int:
    """The bare loop."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += scanned(Path(entry.path))
            else:
                count += entry.stat(follow_symlinks=False).st_size > 0
    return count


def settle(job: Job, writer: StoreWriter) -> None:
    """A run that embeds nothing: the steps of flows/vectorize.py."""
    started = time.time()
    scan = scan_sources(writer.ledger, job.sources)
    make_plan(writer.ledger, writer.snapshot(), [], scan.number, SHARD)
    changes = writer.ledger.changes()
    writer.update_locations(changes.stale_rows)
    report = build(job, writer.snapshot(), writer.ledger, scan, [], changes, [], started=started, seconds=0.0)
    close(writer.ledger, scan, report, started)


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
