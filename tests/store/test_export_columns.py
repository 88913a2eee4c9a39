"""Copies for other tools carry columns: with their types, and nothing where nothing is known."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixelmill.errors import StoreError, UnknownColumn
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.export import export
from pixelmill.store.reader import Store
from tests.support.columns import TIME, clock, store_with
from tests.support.commands import code

LABELS: list[object] = ["dog", None, "chàt", "dog"]
VALUES: dict[str, list[object]] = {
    "label": LABELS,
    "taken_at": [clock("2024-06-01T12:00:00.250"), None, clock("1969-07-20"), 0],
    "stars": [5, None, -1, 0],
    "sharpness": [0.5, None, 30.25, 0.0],
    "path": ["theirs", None, None, "own"],
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(store_with(tmp_path / "store", VALUES, {"taken_at": TIME, "sharpness": "grey levels squared"}))


def test_parquet_has_types_and_nulls(store: Store, tmp_path: Path) -> None:
    """Times as timestamps, null where nothing is known; a column by a name that is taken gets another."""
    done = export(store, store.concatenated(["a"]), tmp_path / "out.parquet")
    assert done.columns == ("label", "taken_at", "stars", "sharpness", "path")
    table = pq.read_table(tmp_path / "out.parquet")
    assert [table.schema.field(name).type for name in ("label", "taken_at", "stars", "sharpness")] == [
        pa.string(), pa.timestamp("ms"), pa.int64(), pa.float64()
    ]  # fmt: skip
    assert table["taken_at"].to_pylist() == [
        datetime(2024, 6, 1, 12, 0, 0, 250_000), None, datetime(1969, 7, 20), datetime(1970, 1, 1)
    ]  # fmt: skip
    assert {name: table[name].to_pylist() for name in ("label", "stars", "sharpness", "columns/path")} == {
        "label": LABELS, "stars": VALUES["stars"], "sharpness": VALUES["sharpness"], "columns/path": VALUES["path"],
    }  # fmt: skip
    assert table["path"].to_pylist()[1] == "1/bild ü 1.png"
    assert table.schema.field("sharpness").metadata == {
        b"kind": b"float64", b"source": b"test", b"version": b"1", b"unit": b"grey levels squared"
    }  # fmt: skip


def test_hdf5_has_columns_as_the_store_has_them(store: Store, tmp_path: Path) -> None:
    """The same datasets, values and attributes as in the store's own file."""
    export(store, store.concatenated(["a"]), tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as out, h5py.File(store.folder / "vectors.h5") as own:
        assert set(out["columns"]) == set(own["columns"]) == set(VALUES)
        for name in VALUES:
            np.testing.assert_array_equal(out[f"columns/{name}"][:], own[f"columns/{name}"][:])
            assert dict(out[f"columns/{name}"].attrs) == dict(own[f"columns/{name}"].attrs)
            assert out[f"columns/{name}"].dtype == own[f"columns/{name}"].dtype


@pytest.mark.parametrize("name", ["out.h5", "out.parquet"])
def test_columns_stay_with_their_rows(store: Store, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rows that are wanted only, also where blocks end between them."""
    monkeypatch.setattr("pixelmill.store.export_files.BLOCK", 2)
    passing = np.array([False, True, True, True])
    done = export(store, store.concatenated(["a"]), tmp_path / name, columns=["label", "stars"], passing=passing)
    assert (done.shape, done.columns) == ((3, 3), ("label", "stars"))
    if name == "out.h5":
        with h5py.File(tmp_path / name) as file:
            assert file["row"][:].tolist() == [1, 2, 3]
            assert list(file["columns"]) == ["label", "stars"]
            assert file["columns/label"].asstr()[:].tolist() == ["", "chàt", "dog"]
            assert file["columns/stars"][:].tolist() == [MISSING_INT, -1, 0]
            np.testing.assert_array_equal(file["vectors"][:], store["a"].read()[1:])
    else:
        table = pq.read_table(tmp_path / name, columns=["row", "label", "stars"])
        assert table.to_pydict() == {"row": [1, 2, 3], "label": LABELS[1:], "stars": [None, -1, 0]}


def test_without_columns_nothing_is_added(tmp_path: Path, store: Store) -> None:
    """Of a store that has none, or where none is wanted, an export is what it was."""
    export(store, store.concatenated(["a"]), tmp_path / "none.parquet", columns=[])
    assert pq.read_schema(tmp_path / "none.parquet").names == [
        "row", "sha256", "source", "path", "vector", "source_bytes", "path_bytes"
    ]  # fmt: skip
    export(store, store.concatenated(["a"]), tmp_path / "none.h5", columns=[])
    with h5py.File(tmp_path / "none.h5") as file:
        assert set(file) == {"vectors", "row", "sha256", "path", "source"}


def test_an_npy_holds_vectors_alone(store: Store, tmp_path: Path) -> None:
    """What is left out of it is told; what is asked for by name is refused."""
    done = export(store, store.concatenated(["a"]), tmp_path / "out.npy")
    assert (done.columns, done.left_out) == ((), tuple(VALUES))
    with pytest.raises(StoreError, match=r"\.npy holds vectors, and no columns"):
        export(store, store.concatenated(["a"]), tmp_path / "out.npy", columns=["label"])


def test_a_column_that_is_not_there_is_told(store: Store, tmp_path: Path) -> None:
    """With the nearest one; no file is begun."""
    with pytest.raises(UnknownColumn, match=r"Got 'lable'\. Did you mean 'label'\?"):
        export(store, store.concatenated(["a"]), tmp_path / "out.h5", columns=["lable"])
    assert not (tmp_path / "out.h5").exists()


def test_the_command_exports_what_fulfils_a_condition(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the columns that are named, all, or none; of an .npy it says that they are not in it."""
    monkeypatch.chdir(tmp_path)

    def exported(out: str, *how: str) -> tuple[str, str]:
        assert code("export", "store", out, "--models", "a", *how) == 0
        return capfd.readouterr()

    assert exported("a.parquet", "--where", "label = 'dog'", "--columns", "label, stars")[0] == (
        "a.parquet: 2 x 3, with label, stars\n"
    )
    assert pq.read_table("a.parquet")["stars"].to_pylist() == [5, 0]
    assert ", with label, taken_at, stars, sharpness, path\n" in exported("b.h5", "--columns", "all")[0]
    assert exported("c.h5", "--columns", "none")[0] == "c.h5: 4 x 3\n"
    assert "Columns are not in it" in exported("d.npy")[1]
    assert exported("e.npy", "--columns", "none") == ("e.npy and e.csv: 4 x 3\n", "")
    assert code("export", "store", "f.h5", "--models", "a", "--columns", "lable") == 2
    assert code("export", "store", "f.h5", "--models", "a", "--where", "lable = 1") == 2
    assert not Path("f.h5").exists()


def test_rows_far_apart_are_read_by_themselves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`take` gives the rows that are wanted, and reads nothing of long gaps."""
    monkeypatch.setattr("pixelmill.store.column_values._GAP", 1)
    for rows in ([], [2], [0, 1, 3], [3, 0], [3, 1, 3, 0]):
        taken = store.columns.take("stars", np.array(rows, np.int64))
        np.testing.assert_array_equal(taken, store.columns["stars"][rows])
    assert store.columns.take("label", np.array([0, 3])).tolist() == [b"dog", b"dog"]
