"""Tables are joined while others write to the store, and to rows whose values a repair has given up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixelmill.joining import columns as joining
from pixelmill.joining import join as tables_joined
from pixelmill.joining.join import join_columns
from pixelmill.joining.table import Table
from pixelmill.store import column_writer
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.stores import path_of, provenance, record_files, sha256, shard_rows

ROWS = 9


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A line for each of twelve pictures, of which nine are stored."""
    with StoreWriter(tmp_path / "store") as writer:
        add(writer, range(ROWS))
    lines = [f"{path_of(number)},label {number}" for number in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    return Table(path=str(tmp_path / "labels.csv"))


def add(writer: StoreWriter, numbers: range) -> None:
    record_files(writer, numbers)
    writer.commit(shard_rows(numbers, [writer.matrix(provenance("a"), "float32")]))


def check(folder: Path, rows: int) -> None:
    store = Store(folder)
    numbers = {sha256(number): number for number in range(12)}
    labels = [f"label {numbers[digest.tobytes()]}" for digest in store.sha256()]
    assert store.columns["label"].tolist() == labels[:rows] + [""] * (len(store) - rows)
    assert verify(folder) == []


def once(act: Callable[[], object], owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `act` happen once, before a function is called."""
    real, waiting = getattr(owner, name), [act]

    def call(*arguments: Any, **named: Any) -> Any:
        while waiting:
            waiting.pop()()
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("before", ["put_rows", "join"])
def test_rows_that_come_meanwhile_are_joined_by_the_next_run(
    before: str, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run adds pictures while the tables are read, or while they are joined."""
    folder = tmp_path / "store"
    with StoreWriter(folder) as writer, StoreWriter(folder) as other:
        owner = tables_joined if before == "put_rows" else joining
        once(lambda: add(other, range(ROWS, 12)), owner, before, monkeypatch)
        assert join_columns(writer, [table]).rows == ROWS
        check(folder, ROWS)
        assert join_columns(writer, [table]).rows == 12 - ROWS
        check(folder, 12)


@pytest.mark.parametrize("act", [compact, lambda other: column_writer.drop(other, ["label"])])
def test_columns_that_change_meanwhile_are_joined_anew(
    act: Callable[[StoreWriter], object], table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run merges them, or drops them: the tables are joined on top of that, at once."""
    folder = tmp_path / "store"
    with StoreWriter(folder) as writer, StoreWriter(folder) as other:
        join_columns(writer, [table])
        text = Path(table.path).read_text()
        Path(table.path).write_text(text.replace("label 1", "other 1"))
        join_columns(writer, [table])
        Path(table.path).write_text(text)
        once(lambda: act(other), joining, "join", monkeypatch)
        assert join_columns(writer, [table]).rows >= 1
        check(folder, ROWS)


def test_whoever_is_always_overtaken_says_so(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not try for ever, and the columns stay as they were."""

    def overtaken(*_: object, **__: object) -> int:
        raise Overtaken("Look again.")

    monkeypatch.setattr(joining, "join", overtaken)
    with StoreWriter(tmp_path / "store") as writer, pytest.raises(Overtaken):
        join_columns(writer, [table])
    assert not Store(tmp_path / "store").columns


def test_values_that_a_repair_gave_up_are_joined_again(table: Table, tmp_path: Path) -> None:
    """By the next run, though neither the table nor a file has changed; and by no other."""
    folder = tmp_path / "store"
    with StoreWriter(folder) as writer:
        join_columns(writer, [table])
        writer.ledger.changes()
        writer.ledger.settle()
    (group,) = Store(folder).manifest.columns
    (folder / "parts" / group.extents[0].part).unlink()
    repair(folder)
    assert Store(folder).columns["label"].tolist() == [""] * ROWS
    with StoreWriter(folder) as writer:
        assert join_columns(writer, [table]).rows == ROWS
        check(folder, ROWS)
        writer.ledger.changes()
        writer.ledger.settle()
        revision = writer.snapshot().manifest.revision
        assert join_columns(writer, [table]).rows == 0
        assert writer.snapshot().manifest.revision == revision
