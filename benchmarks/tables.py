"""What tables joined to a store cost a night: seconds and peak memory of the join alone, which is all that is added.

The rows and the table are made up: as many lines as there are rows, with a label, a caption and a number. docs/scale.md
has the figures.

    python benchmarks/tables.py [--rows 100000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pixelmill.joining.join import join_columns
from pixelmill.joining.table import Table
from pixelmill.joining.told import ColumnsReport
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.rows import Content, ShardRows

SHARD = 50_000


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rows", type=int, default=100_000)
    given.add_argument("--folder", type=Path)
    asked = given.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        measure(Path(name), asked.rows)


def measure(folder: Path, rows: int) -> None:
    """Print what each kind of night takes."""
    table = Table(path=str(folder / "labels.csv"))
    with StoreWriter(folder / "store") as writer:
        fill(writer, range(rows))
        settle(writer)
        write(table, rows)
        print(f"{rows:,} rows, {Path(table.path).stat().st_size / 1e6:,.1f} MB of CSV; before: {peak()} MB")
        tell("a table that is new", lambda: join_columns(writer, [table]))
        settle(writer)
        tell("nothing has changed", lambda: join_columns(writer, [table]))
        write(table, rows, changed=rows // 2)
        tell("one value has changed", lambda: join_columns(writer, [table]))
        write(table, rows, changed=rows // 3, every=10)
        tell("a tenth of them has", lambda: join_columns(writer, [table]))
        fill(writer, range(rows, rows + 100))
        tell("100 pictures are new", lambda: join_columns(writer, [table]))


def fill(writer: StoreWriter, numbers: range) -> None:
    """Commit rows of made-up contents."""
    for start in range(numbers.start, numbers.stop, SHARD):
        files = [file_of(number) for number in range(start, min(start + SHARD, numbers.stop))]
        writer.ledger.scans.record(writer.ledger.scans.begin(), files)
        contents = [Content(file, hashlib.sha256(file.encoded).digest(), 1, 1) for file in files]
        writer.commit(ShardRows(contents=contents))


def file_of(number: int) -> FoundFile:
    return FoundFile("/photos", f"{number // 1000:05}/{number}.jpg", 10, 1, 1)


def settle(writer: StoreWriter) -> None:
    writer.ledger.changes()
    writer.ledger.settle()


def write(table: Table, rows: int, *, changed: int = -1, every: int = 0) -> None:
    """Write the table, in which one line, or each so many-th, has another caption."""
    with Path(table.path).open("w") as file:
        file.write("path,label,caption,score\n")
        for number in range(rows):
            is_other = number == changed or (every and number % every == 0)
            words = "something else" if is_other else "a picture of something as people describe it"
            file.write(f"{file_of(number).path},label {number % 100},{words} {number},{number / 8}\n")


def tell(what: str, do: Callable[[], ColumnsReport]) -> None:
    began = time.perf_counter()
    report = do()
    assert not any(table.unreadable for table in report.tables)
    print(f"{what:24} {time.perf_counter() - began:8.2f} s {report.rows:12,} rows changed {peak():8} MB")


def peak() -> int:
    """Most of the memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
