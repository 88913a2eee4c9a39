"""A store with all that is kept of pictures, and what of them may be found in its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelmill.store.column_writer import begin
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.ensembles import keep as keep_ensemble
from tests.support.stores import (
    DIMS,
    fact,
    facts_group,
    file_of,
    join_tags,
    path_of,
    provenance,
    record_files,
    sha256,
    shard_rows,
    tag,
    vector,
)
from tests.support.traces import needles

ROWS = np.array([2, 3, 7])
"""Those that are forgotten, of ten: one that has moved, one that is gone, one that is there."""
KEPT = [row for row in range(10) if row not in ROWS]


def of(number: int) -> dict[str, bytes]:
    """What content `number` is known by."""
    content = sha256(number)
    texts = [str(fact(content, "camera", version), "utf-8") for version in "12"] + [
        tag(content, n).decode() for n in (1, 2)
    ]
    return needles(
        sha256=content, paths=[path_of(number), file_of(number, f"new/{number} moved.png").path],
        vectors=[vector(content, model, DIMS[model]) for model in "ab"], texts=texts,
    )  # fmt: skip


def filled(folder: Path) -> None:
    """A store of ten contents with all that a store keeps of them: vectors, also of a generation that is old, facts of
    two versions, tags of two rounds, paths of before, refusals, reports, compacted and retired parts, a dead part."""
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]
        facts = begin(writer, facts_group())
        record_files(writer, range(10))
        for start in (0, 4, 8):
            numbers = range(start, min(start + 4, 10))
            writer.commit(shard_rows(numbers, matrices, bad=[5], facts=facts))
        join_tags(writer, 1)
        compact(writer)
        writer.commit(shard_rows(range(10), [writer.matrix(provenance("a", version=1), "float32")], bad=[5]))
        writer.commit(shard_rows(range(10), [], facts=begin(writer, facts_group("2"))))
        join_tags(writer, 2)
        keep_ensemble(writer, "both", ["a", "b"], [1.0, 1.0])
        ledger, scan = writer.ledger, writer.ledger.scans.begin()
        ledger.changes()
        ledger.settle()
        moved = [file_of(n, f"new/{n} moved.png" if n in (2, 4) else "") for n in range(10) if n != 3]
        ledger.scans.record(scan, moved)
        ledger.scans.mark_gone(scan, "/photos")
        ledger.contents.record_read([(file_of(n, f"new/{n} moved.png"), n) for n in (2, 4)])
        writer.update_locations(ledger.changes().stale_rows)
        report = {
            "new_images": [{"row": n, "path": file_of(n).absolute} for n in range(10)],
            "failures": [{"examples": [file_of(7).absolute, file_of(3).absolute]}],
            "warnings": [f"{file_of(2).absolute}: odd"], "sources": {"/photos": 10},
        }  # fmt: skip
        ledger.runs.record(1.0, report)
        ledger.settle()
    (folder / "parts" / "0123456789abcdef.h5").write_bytes(b"".join(of(7).values()))
    (folder / "parts" / ".x.h5.0.tmp").write_bytes(b"".join(of(2).values()))
