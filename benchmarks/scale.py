"""What a store of very many rows costs: seconds and memory of discovery, planning, commit, open and upkeep.

The images are made up (names, times and sha256 follow from a number; the vectors have 8 dims), all else is what runs
every night: the scan's records, the plan, shards through coverage and commit, the report's questions, verify, compact,
and the ledger made anew. Each stage is a process of its own, so that its peak memory is its own: `peak` counts all
resident memory, mapped parts (page cache, which the kernel takes back) included, `own` what only this process holds.
The walk alone reads real files. docs/scale.md has the figures.

    python benchmarks/scale.py [--rows 100000] [--shard 4096] [--bulk] [--walk 50000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the parent stays small: a child's peak memory cannot be told apart below its parent's
    from pixelmill.plan import Shard
    from pixelmill.sources.found import FoundFile
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.manifest import Matrix, Provenance
    from pixelmill.store.rows import Content, ShardRows

DIM = 8
AT_ONCE = 1000
SECOND_MODEL_SHARDS = 20
BULK, BULK_LEAVES = 500_000, 20
"""With --bulk: rows a part, and shards that are left to be committed one by one."""
Details = dict[str, Any]


class Given(argparse.Namespace):
    """The command line."""

    rows: int
    shard: int
    bulk: bool
    walk: int
    folder: Path
    stage: str

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def last_scan(self) -> Path:
        """Holds the number of the last scan."""
        return self.folder / "scan"


# Images that nobody took


def file_of(root: str, number: int) -> FoundFile:
    """Image `number`: a thousand a folder, so that the numbers are in the order of the paths."""
    from pixelmill.sources.found import FoundFile

    return FoundFile(root, f"album-{number // 1000:06d}/image-{number:010d}.jpg", 2_000_000 + number, number, number)


def content_of(file: FoundFile) -> Content:
    """The content of an image, each another."""
    from pixelmill.store.rows import Content

    return Content(file, hashlib.sha256(file.path.encode()).digest(), 4000, 3000)


def provenance(model: str) -> Provenance:
    """What made the matrix of `model`."""
    from pixelmill.store.manifest import Provenance

    return Provenance(
        model=model, backend="made-up", architecture="none", pretrained="none", weights_sha256="0" * 64, dim=DIM,
        image_size=8, resize=8, resize_mode="shortest", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
        interpolation="bicubic", precision="float32", decode="fast", exif_orientation=True, background="white",
        fingerprint=hashlib.sha256(model.encode()).hexdigest(), versions={},
    )  # fmt: skip


# Stages: each gives what is worth telling beside its time and memory


def scan(given: Given) -> Details:
    """Record `rows` found files, and mark what is gone."""
    from unittest import mock

    from pixelmill.run.scan import scan_sources
    from pixelmill.sources.discover import Discovery, Source
    from pixelmill.store.commit import StoreWriter

    given.photos.mkdir(exist_ok=True)
    with StoreWriter(given.store) as writer:

        def walk(_: Discovery, source: Source) -> Iterator[FoundFile]:
            """Asks the ledger about each file, as a walk of the folder does, and finds every one."""
            for number in range(given.rows):
                file = file_of(source.root, number)
                writer.ledger.scans.is_known(file)
                yield file

        with mock.patch.object(Discovery, "walk", walk):
            found = scan_sources(writer.ledger, [str(given.photos)])
    assert found.seen == given.rows
    given.last_scan.write_text(str(found.number))
    return {"ledger_bytes_per_row": ledger_bytes(given) / given.rows}


def plan_first(given: Given) -> Details:
    """Plan with every content unknown."""
    return planned(given, "first", lacking=given.rows)


def plan_none(given: Given) -> Details:
    """Plan with nothing missing."""
    return planned(given, "first", lacking=0)


def plan_second(given: Given) -> Details:
    """Plan for a second model, which lacks every row."""
    return planned(given, "second", lacking=given.rows)


def fill(given: Given) -> Details:
    """With --bulk: put all but the last shards there in large parts and in one go, for want of time."""
    from pixelmill.store.commit import StoreWriter

    rows = given.rows - BULK_LEAVES * given.shard
    with StoreWriter(given.store) as writer:
        matrix = writer.matrix(provenance("first"), "float16")
        digests = [filled_part(given, writer, matrix, start, min(start + BULK, rows)) for start in range(0, rows, BULK)]
        in_order = sorted((digest, row) for row, digest in enumerate(chain.from_iterable(digests)))
        with writer.ledger.transaction():
            writer.ledger.contents.record_rows(in_order)
    with closing(sqlite3.connect(given.store / "ledger.sqlite", isolation_level=None)) as ledger:
        number = "CAST(CAST(substr(path, -14, 10) AS TEXT) AS INTEGER)"
        ledger.execute(f"UPDATE files SET row = {number} WHERE {number} < ?", (rows,))
    return {"rows": rows}


def filled_part(given: Given, writer: StoreWriter, matrix: Matrix, start: int, stop: int) -> list[bytes]:
    """Publish rows `start` to `stop` as one part, without the ledger; their sha256."""
    import numpy as np

    from pixelmill.store.manifest import Extent
    from pixelmill.store.master import publish
    from pixelmill.store.parts import write_part

    files = [file_of(str(given.photos), number) for number in range(start, stop)]
    digests = [content_of(file).sha256 for file in files]
    rows = len(files)
    part = write_part(given.store / "parts", {
        "images/sha256": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        "images/width": np.full(rows, 4000, np.int32),
        "images/height": np.full(rows, 3000, np.int32),
        "images/path": [file.path.encode() for file in files],
        "images/source": [file.source.encode() for file in files],
        matrix.vectors: np.random.default_rng(start).standard_normal((rows, DIM), np.float32).astype(np.float16),
        matrix.embedded: np.ones(rows, np.uint8),
    })  # fmt: skip
    added = Extent(start, rows, part.file, 0)
    old = writer.snapshot().manifest
    grown = [m.model_copy(update={"extents": (*m.extents, added)}) if m.key == matrix.key else m for m in old.matrices]
    update = {
        "rows": stop, "identity": (*old.identity, added), "location": (*old.location, added),
        "matrices": tuple(grown), "parts": {**old.parts, part.file: part},
    }  # fmt: skip
    publish(given.store, old.model_copy(update=update))
    return digests


def commit(given: Given) -> Details:
    """Embed and commit all shards, each as a worker does, with the compactions that become necessary."""
    return committed(given, "first", most=None)


def commit_second(given: Given) -> Details:
    """Some shards of a second model, whose rows are all there."""
    return committed(given, "second", most=SECOND_MODEL_SHARDS)


def settle(given: Given) -> Details:
    """What the end of a run asks: what is new, moved or gone, in which folders, and what is covered; settle."""
    from pixelmill.report.build import coverage
    from pixelmill.store.commit import StoreWriter

    with StoreWriter(given.store) as writer:
        changes = writer.ledger.changes()
        writer.update_locations(changes.stale_rows)
        writer.serve([provenance("first").fingerprint])
        coverage(writer.snapshot(), writer.ledger)
        writer.ledger.settle()
    return {"new": changes.new, "moved": changes.moved, "stale": len(changes.stale_rows)}


def move(given: Given) -> Details:
    """Let a scan find every image but the first thousand in another folder, and read it there."""
    from pixelmill.sources.found import FoundFile
    from pixelmill.store.commit import StoreWriter

    root, kept = str(given.photos), 1000

    def place(number: int) -> FoundFile:
        name = f"renamed-{number // 1000:06d}/image-{number:010d}.jpg"
        return file_of(root, number) if number < kept else FoundFile(root, name, 2_000_000 + number, number, number)

    with StoreWriter(given.store) as writer:
        number = writer.ledger.scans.begin()
        writer.ledger.scans.record(number, map(place, range(given.rows)))
        writer.ledger.scans.mark_gone(number, root)
        with writer.ledger.transaction():
            writer.ledger.contents.record_read((place(row), row) for row in range(kept, given.rows))
    return {}


def open_store(given: Given) -> Details:
    """Open the store; the work of most readers: some rows."""
    import h5py
    import numpy as np

    from pixelmill.store.reader import Store

    rows = np.sort(np.random.default_rng(0).choice(given.rows, min(AT_ONCE, given.rows), replace=False))
    took: Details = {}
    with clocked(took, "open_ms"):
        store = Store(given.store)
    with clocked(took, "take_ms"):
        ours = store["first"].take(rows)
    with clocked(took, "h5py_open_ms"):
        file = h5py.File(given.store / "vectors.h5")
    with clocked(took, "h5py_take_ms"):
        theirs = np.stack([file["vectors/first"][int(row)] for row in rows])
    assert np.array_equal(ours, theirs)
    assert np.isfinite(ours).all()
    with clocked(took, "embedded_ms"):
        assert store["first"].embedded.all()
    return took


def read_texts(given: Given) -> Details:
    """All paths at once, as search and export want them."""
    from pixelmill.store.reader import Store

    assert (Store(given.store).paths != b"").all()
    return {}


def verify(given: Given) -> Details:
    """Hash and compare everything."""
    from pixelmill.store.verify import verify

    assert verify(given.store) == []
    return {}


def compact(given: Given) -> Details:
    """Merge the small parts, and delete those that were replaced."""
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.compact import compact

    with StoreWriter(given.store) as writer:
        done = compact(writer, retention=-1)
        done = compact(writer, retention=-1)
    return {"parts": done.parts_after, **sizes(given)}


def rebuild(given: Given) -> Details:
    """Make the ledger anew from the master, as after its loss."""
    from pixelmill.store.commit import StoreWriter

    for file in given.store.glob("ledger.sqlite*"):
        file.unlink()
    with StoreWriter(given.store) as writer:
        assert writer.ledger.contents.row_count() == given.rows
    return {"ledger_bytes_per_row": ledger_bytes(given) / given.rows}


def walk(given: Given) -> Details:
    """Walk real files, twenty bytes each, all of them known."""
    from pixelmill.sources.discover import discover

    root = given.folder / "walked"
    for number in range(given.walk):
        path = root / file_of("", number).path
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    took: Details = {}
    for name, known in (("us_a_new_file", False), ("us_a_known_file", True)):
        start = time.perf_counter()
        found = sum(1 for _ in discover([str(root)], known=lambda _file, known=known: known))
        took[name] = (time.perf_counter() - start) / found * 1e6
    assert found == given.walk
    return took


STAGES = {
    "discover": scan, "plan, all new": plan_first, "fill": fill, "commit": commit, "settle": settle,
    "discover again": scan,
    "settle again": settle, "plan, nothing": plan_none, "plan, 2nd model": plan_second,
    "commit, 2nd model": commit_second, "open": open_store, "all paths": read_texts, "verify": verify,
    "compact": compact, "move": move, "settle, moved": settle, "rebuild ledger": rebuild, "walk": walk,
}  # fmt: skip


# What the stages share


def planned(given: Given, model: str, *, lacking: int) -> Details:
    """Make the plan for one model."""
    from pixelmill.plan import make_plan
    from pixelmill.store.commit import StoreWriter

    with StoreWriter(given.store) as writer:
        matrix = writer.matrix(provenance(model), "float16")
        scanned = int(given.last_scan.read_text())
        plan = make_plan(writer.ledger, writer.snapshot(), [matrix], scanned, given.shard)
    assert plan.images == lacking
    return {"shards": len(plan.shards)}


def committed(given: Given, model: str, *, most: int | None) -> Details:
    """Take the shards of a plan one by one, as a worker does; seconds of the first and last ones by step."""
    from pixelmill.plan import make_plan
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.compact import compact_if_needed

    with StoreWriter(given.store) as writer:
        matrix = writer.matrix(provenance(model), "float16")
        scanned = int(given.last_scan.read_text())
        shards = make_plan(writer.ledger, writer.snapshot(), [matrix], scanned, given.shard).shards[:most]
        steps: list[Details] = []
        for shard in shards:
            steps.append({})
            with clocked(steps[-1], "list_ms"):
                rows = rows_of(writer, matrix, scanned, shard)
            with clocked(steps[-1], "commit_ms"):
                writer.commit(rows)
            with clocked(steps[-1], "compact_ms"):
                compact_if_needed(writer)
    return {"shards": len(shards), **{name: ends([step[name] for step in steps]) for name in steps[0]}, **sizes(given)}


def rows_of(writer: StoreWriter, matrix: Matrix, scanned: int, shard: Shard) -> ShardRows:
    """What a worker makes of a shard, without the decoding and the model."""
    import numpy as np

    from pixelmill.plan import Coverage
    from pixelmill.store.rows import ShardRows, Vectors

    coverage = Coverage(writer.snapshot(), writer.ledger, [matrix])
    contents = [content_of(file) for file, _ in writer.ledger.worklist.planned(scanned, shard.first, shard.images)]
    assert len(contents) == shard.images
    assert all(coverage.lacking(writer.ledger.contents.row_of(content.sha256)) for content in contents)
    values = np.random.default_rng(shard.number).standard_normal((len(contents), DIM), dtype=np.float32)
    return ShardRows(contents, {matrix.provenance.fingerprint: Vectors(np.arange(len(contents)), values)})


def ends(values: list[float]) -> str:
    """The mean of the first and of the last tenth, and the largest."""
    tenth = max(len(values) // 10, 1)
    return f"{sum(values[:tenth]) / tenth:.0f}..{sum(values[-tenth:]) / tenth:.0f}, most {max(values):.0f}"


def sizes(given: Given) -> Details:
    """Bytes of what a store consists of."""
    parts = [file.stat().st_size for file in (given.store / "parts").iterdir()]
    return {
        "ledger_bytes_per_row": ledger_bytes(given) / given.rows,
        "part_files": len(parts),
        "part_bytes_per_row": sum(parts) / given.rows,
        "master_bytes": (given.store / "vectors.h5").stat().st_size,
        "manifest_bytes": (given.store / "manifest.json").stat().st_size,
    }


def ledger_bytes(given: Given) -> int:
    return sum(file.stat().st_size for file in given.store.glob("ledger.sqlite*"))


class clocked:  # noqa: N801 - reads as a function
    """Keep the milliseconds spent in a block under `name`."""

    def __init__(self, kept: Details, name: str) -> None:
        self._kept, self._name = kept, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._kept[self._name] = (time.perf_counter() - self._start) * 1e3


class Memory(threading.Thread):
    """Watches how much anonymous memory this process holds; the kernel keeps no peak of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = 0
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            self.own = max(self.own, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

    def stop(self) -> float:
        """The most there was, in MB."""
        self._end.set()
        self.join()
        return self.own / 1024


def run_stage(given: Given) -> None:
    """Do one stage in this process and print what it took."""
    import pixelmill.plan
    import pixelmill.store.verify  # noqa: F401 - loading is not what is measured

    memory = Memory()
    memory.start()
    start = time.perf_counter()
    cpu = time.process_time()
    details = STAGES[given.stage](given)
    took = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "own_mb": memory.stop(),
    }
    print(json.dumps({**took, "details": details}))


def run_all(given: Given) -> None:
    """Each stage in a process of its own, one after the other."""
    print(f"{given.rows:,} rows, {given.shard:,} a shard, {DIM} dims; {os.cpu_count()} cores")
    print(f"{'stage':<18}{'s':>8}{'CPU s':>8}{'us a row':>10}{'peak MB':>9}{'own MB':>8}  details")
    for stage in [stage for stage in STAGES if given.bulk or stage != "fill"]:
        command = [sys.executable, __file__, "--stage", stage, "--folder", str(given.folder)]
        command += ["--rows", str(given.rows), "--shard", str(given.shard), "--walk", str(given.walk)]
        command += ["--bulk"] * given.bulk
        took = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        told = " ".join(
            f"{name}={value:.1f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in took["details"].items()
        )
        rows = given.walk if stage == "walk" else given.rows
        print(
            f"{stage:<18}{took['seconds']:8.1f}{took['cpu_seconds']:8.1f}{took['seconds'] / rows * 1e6:10.1f}"
            f"{took['peak_mb']:9.0f}{took['own_mb']:8.0f}  {told}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shard", type=int, default=4096, help="images between two commits (a run's default: 4096)")
    parser.add_argument("--bulk", action="store_true", help="commit only the last shards one by one, to save hours")
    parser.add_argument("--walk", type=int, default=50_000, help="how many real files to walk")
    parser.add_argument("--folder", type=Path, help="an empty folder for about 1.5 kB a row; default: a temporary one")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args(namespace=Given())
    if given.stage:
        run_stage(given)
    elif given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        run_all(given)
    else:
        with tempfile.TemporaryDirectory(prefix="pixelmill-scale-") as folder:
            given.folder = Path(folder)
            run_all(given)


if __name__ == "__main__":
    main()
