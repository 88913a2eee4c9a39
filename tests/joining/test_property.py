"""Any tables, joined night after night, give what a join in plain Python gives."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.joining.join import join_columns
from pixelmill.joining.table import Table
from pixelmill.store.commit import StoreWriter
from pixelmill.store.verify import verify
from tests.support.stores import path_of, provenance, record_files, sha256, shard_rows

ROWS = 6
NAMES = ("one", "two")
# A letter in front: what reads as a number, a day or a truth has a kind of its own, which other tests are about.
VALUES = st.one_of(st.just(""), st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5).map("x{}".format))
KEYS = st.one_of(st.integers(0, ROWS - 1).map(path_of), st.sampled_from(["nobody.png", "./" + path_of(0), ""]))
LINES = st.lists(st.tuples(KEYS, VALUES, VALUES), max_size=8)
NIGHTS = st.lists(st.tuples(LINES, LINES, st.integers(0, ROWS)), min_size=1, max_size=3)
Lines = list[tuple[str, str, str]]


def plain(tables: tuple[Lines, Lines], rows: int) -> dict[str, list[str]]:
    """The last line of a path counts, and the first table that says something."""
    joined = {name: [""] * rows for name in NAMES}
    for lines in reversed(tables):
        last = {path.removeprefix("./"): values for path, *values in lines if path}
        for number in range(rows):
            for name, value in zip(NAMES, last.get(path_of(number), ()), strict=False):
                joined[name][number] = value or joined[name][number]
    return joined


@settings(max_examples=25, deadline=None)
@given(NIGHTS)
def test_tables_give_what_a_plain_join_gives(nights: list[tuple[Lines, Lines, int]]) -> None:
    """Whatever changes from one night to the next: lines, and which pictures there are."""
    with tempfile.TemporaryDirectory() as name, StoreWriter(Path(name) / "store") as writer:
        matrix, there = writer.matrix(provenance("a"), "float32"), 0
        tables = [Table(path=f"{name}/{kind}.csv") for kind in "ab"]
        for night, (first, second, rows) in enumerate(nights):
            for table, lines in zip(tables, (first, second), strict=True):
                with Path(table.path).open("w", newline="") as file:
                    csv.writer(file).writerows([("path", *NAMES), *lines, *[("", "", "")] * night])
            if rows > there:
                record_files(writer, range(there, rows))
                writer.commit(shard_rows(range(there, rows), [matrix]))
                there = rows
            writer.update_locations(writer.ledger.changes().stale_rows)
            assert not any(table.problem for table in join_columns(writer, tables).tables)
            writer.ledger.settle()
            store = writer.snapshot()
            contents = [digest.tobytes() for digest in store.sha256()]
            order = [contents.index(sha256(number)) for number in range(there)]
            found = {column: list(store.columns[column][order]) for column in NAMES}
            assert found == plain((first, second), there)
        assert verify(writer.folder) == []
