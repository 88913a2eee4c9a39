"""Labels of a store joined as columns, without a line in the settings, and beside tables that the settings name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmill.joining.join import join_columns
from pixelmill.joining.table import Table
from pixelmill.joining.told import ColumnsReport
from pixelmill.store.commit import StoreWriter
from pixelmill.store.labels import LabelFile
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.stores import path_of, provenance, record_files, sha256, shard_rows

ROWS = 4


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[StoreWriter]:
    """Rows of four pictures, in their order."""
    with StoreWriter(tmp_path / "store") as opened:
        for number in range(ROWS):
            record_files(opened, [number])
            opened.commit(shard_rows([number], [opened.matrix(provenance("a"), "float32")]))
        yield opened


def give(writer: StoreWriter, value: str | None, *numbers: int, name: str = "animal") -> None:
    LabelFile(writer.folder, name).give(value, {sha256(number): "" for number in numbers})


def joined(writer: StoreWriter, *tables: Table) -> ColumnsReport:
    """As a run does it."""
    writer.update_locations(writer.ledger.changes().stale_rows)
    report = join_columns(writer, tables)
    writer.ledger.settle()
    return report


def column(writer: StoreWriter, name: str = "animal") -> list[object]:
    return list(writer.snapshot().columns[name])


def table(folder: Path, *lines: str, header: str = "path,animal") -> Table:
    (folder / "table.csv").write_text("\n".join([header, *lines]) + "\n")
    return Table(path=str(folder / "table.csv"))


def test_labels_are_columns(writer: StoreWriter) -> None:
    """Given, changed, taken away: each run has them as they are by then, and one without changes does nothing."""
    give(writer, "cat", 0, 1)
    report = joined(writer)
    assert (report.new, report.rows) == (("animal",), 2)
    assert [(one.path, one.lines, one.unmatched) for one in report.tables] == [("labels/animal.csv", 2, 0)]
    assert column(writer) == ["cat", "cat", "", ""]
    assert writer.snapshot().columns.about("animal")[0].source == "label"
    assert joined(writer) == ColumnsReport()
    give(writer, None, 1)
    give(writer, "dog", 2)
    assert joined(writer).rows == 2
    assert column(writer) == ["cat", "", "dog", ""]
    give(writer, None, 0, 2)
    assert joined(writer).dropped == ("animal",)
    assert "animal" not in writer.snapshot().columns
    assert joined(writer) == ColumnsReport()
    assert verify(writer.folder) == []


def test_a_label_is_text(writer: StoreWriter) -> None:
    """Whatever it reads like: nothing that somebody has given is lost to the kind of a column."""
    give(writer, "1", 0)
    give(writer, "NaN", 1)
    joined(writer)
    give(writer, "two", 2)
    joined(writer)
    assert column(writer) == ["1", "NaN", "two", ""]


def test_a_label_goes_before_what_a_table_says(writer: StoreWriter, tmp_path: Path) -> None:
    """And when it is taken away the table counts again. A run that names no tables leaves what they gave."""
    told = table(tmp_path, f"{path_of(0)},dog", f"{path_of(1)},dog")
    give(writer, "cat", 1, 2)
    joined(writer, told)
    assert column(writer) == ["dog", "cat", "cat", ""]
    assert writer.snapshot().columns.about("animal")[0].source == "table"
    joined(writer)
    assert column(writer) == ["dog", "cat", "cat", ""]
    give(writer, None, 1)
    joined(writer)
    joined(writer, told)
    assert column(writer) == ["dog", "dog", "cat", ""]


def test_a_run_without_tables_leaves_theirs(writer: StoreWriter, tmp_path: Path) -> None:
    """The columns of tables stay, and are joined by the next run that names these, whatever labels came meanwhile; a
    run of the same labels and tables does nothing."""
    told = table(tmp_path, f"{path_of(0)},red", header="path,colour")
    joined(writer, told)
    give(writer, "cat", 1)
    assert joined(writer).new == ("animal",)
    assert (column(writer, "colour"), column(writer)) == (["red", "", "", ""], ["", "cat", "", ""])
    table(tmp_path, f"{path_of(2)},blue", header="path,colour")
    joined(writer, told)
    assert (column(writer, "colour"), column(writer)) == (["", "", "blue", ""], ["", "cat", "", ""])
    assert joined(writer, told) == ColumnsReport()
    give(writer, None, 1)
    assert joined(writer).dropped == ("animal",)
    assert column(writer, "colour") == ["", "", "blue", ""]


@pytest.mark.parametrize("kept", [True, False])
def test_labels_that_cannot_be_read_cost_themselves(kept: bool, writer: StoreWriter, tmp_path: Path) -> None:
    """The report says which and why; what they said stays, tables are joined as ever."""
    tables = [table(tmp_path, f"{path_of(0)},red", header="path,colour")] if kept else []
    give(writer, "cat", 1)
    give(writer, "yes", 0, name="keep")
    joined(writer, *tables)
    whole = LabelFile(writer.folder, "animal").path.read_bytes()
    LabelFile(writer.folder, "animal").path.write_bytes(b"sha256,nothing\n")
    give(writer, "no", 1, name="keep")
    report = joined(writer, *tables)
    assert "Expected a column 'animal'" in report.tables[0].problem
    assert (column(writer), column(writer, "keep")) == (["", "cat", "", ""], ["yes", "no", "", ""])
    assert not kept or column(writer, "colour")[0] == "red"
    LabelFile(writer.folder, "animal").path.write_bytes(whole.replace(b"cat", b"dog"))
    joined(writer, *tables)
    assert column(writer) == ["", "dog", "", ""]


def test_new_pictures_and_a_store_that_moved(writer: StoreWriter, tmp_path: Path) -> None:
    """A picture that comes later has the label that its content got; a store that was moved has what it had."""
    give(writer, "cat", 1, 9)
    joined(writer)
    record_files(writer, [9])
    writer.commit(shard_rows([9], [writer.matrix(provenance("a"), "float32")]))
    assert joined(writer).rows == 1
    assert column(writer) == ["", "cat", "", "", "cat"]
    revision = writer.snapshot().manifest.revision
    shutil.copytree(writer.folder, tmp_path / "moved", ignore=shutil.ignore_patterns(".lock", "writers"))
    with StoreWriter(tmp_path / "moved") as other:
        report = join_columns(other)
    assert (report.rows, report.new, report.dropped) == (0, (), ())
    assert Store(tmp_path / "moved").manifest.revision == revision
