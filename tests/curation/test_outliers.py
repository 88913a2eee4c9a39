"""How far pictures lie from others: by its definition, in any blocks, kept up by nights, as a command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pixelmill.cli.main import cli
from pixelmill.curation import near
from pixelmill.curation import outliers as module
from pixelmill.curation.nights import keep_up
from pixelmill.curation.outliers import distances, find_outliers
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from tests.support.labelled import labelled_store

DIM = 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few rows lie in many blocks."""
    monkeypatch.setattr(near, "TILE", 48)
    monkeypatch.setattr(module, "_AT_ONCE", 32)


def values_of(rows: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values: np.ndarray = 1 + random.standard_normal((rows, DIM)) * random.uniform(0.0, 1.0, (rows, 1))
    return values.astype(np.float32)


def store_of(folder: Path, values: np.ndarray, seen: int | None = None) -> Path:
    return labelled_store(folder, {"a": values}, {"nothing": [1.0] * len(values)}, seen=seen)


def by_hand(values: np.ndarray, number: int = 10) -> np.ndarray:
    unit = values.astype(np.float64) / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.sort(cosines, axis=1)[:, ::-1][:, : min(number, len(values) - 1)]
    mean: np.ndarray = (1 - nearest).mean(axis=1)
    return mean


def nothing() -> None:
    pass


@pytest.mark.parametrize("number", [1, 10, 250, 1000])
@pytest.mark.parametrize("order", ["as they came", "far ones first"])
def test_distances_are_those_of_the_definition(tmp_path: Path, number: int, order: str) -> None:
    """Of all rows, whatever the number of neighbours; also where each block has nearer ones than all before it."""
    values = values_of(300)
    if order == "far ones first":
        values = values[np.argsort(-by_hand(values))]
    view, rows = Store(store_of(tmp_path / "store", values))["a"], np.arange(300)
    np.testing.assert_allclose(distances(view, rows, rows, number, nothing), by_hand(values, number), atol=2e-6)


def test_a_row_without_others_has_no_distance(tmp_path: Path) -> None:
    """One alone; equal ones have none between them."""
    view = Store(store_of(tmp_path / "store", np.ones((3, DIM), np.float32)))["a"]
    assert np.isnan(distances(view, np.arange(1), np.arange(1), 10, nothing)).all()
    assert distances(view, np.arange(3), np.arange(3), 10, nothing) == pytest.approx(0, abs=1e-6)


def test_the_column_is_that_of_brute_force(tmp_path: Path) -> None:
    """Rows without a vector, and those whose file is gone, are no neighbours and have no distance."""
    values = values_of(300)
    values[::17] = np.nan
    folder = store_of(tmp_path / "store", values, seen=280)
    with StoreWriter(folder) as writer:
        found = find_outliers(writer)
    there = np.flatnonzero(np.isfinite(values[:280]).all(axis=1))
    column = Store(folder).columns["outlier"]
    np.testing.assert_allclose(column[there], by_hand(values[there]), atol=2e-6)
    assert np.isnan(np.delete(column, there)).all()
    assert found.distances.tolist() == sorted(found.distances.tolist(), reverse=True)


def test_a_night_measures_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all that there is; others keep what they have. Where nobody has asked, and where nothing is new, nothing
    is done."""
    values = values_of(300)
    folder = store_of(tmp_path / "store", values)
    view = Store(folder)["a"]
    with StoreWriter(folder) as writer:
        assert keep_up(writer) == ()
        assert "outlier" not in Store(folder).columns
        monkeypatch.setattr(MatrixView, "rows", property(lambda self: np.arange(250)))
        find_outliers(writer)
        before = Store(folder).columns["outlier"]
        assert np.isnan(before[250:]).all()
        monkeypatch.undo()
        assert keep_up(writer) == ()
        after = Store(folder).columns["outlier"]
        np.testing.assert_array_equal(after[:250], before[:250])
        np.testing.assert_allclose(after[250:], by_hand(values)[250:], atol=2e-6)
        monkeypatch.setattr(module, "distances", None)
        assert keep_up(writer) == ()
    assert len(view) == 300


def test_of_very_many_rows_some_are_drawn_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same each time; what lies far from those lies far from all."""
    values = values_of(300)
    values[7] = -values[8]
    folder = store_of(tmp_path / "store", values)
    monkeypatch.setattr(module, "EXACT_UP_TO", 299)
    monkeypatch.setattr(module, "DRAWN", 100)
    with StoreWriter(folder) as writer:
        found = find_outliers(writer)
        assert found.distances.tolist() == find_outliers(writer).distances.tolist()
    assert found.others == 100
    assert found.rows[0] == 7


def test_the_command_tells_the_farthest_first(tmp_path: Path) -> None:
    """As a table, as JSON, as CSV of all."""
    folder, out, runner = store_of(tmp_path / "store", values_of(60)), tmp_path / "outliers.csv", CliRunner()
    done = runner.invoke(cli, ["outliers", str(folder), "--out", str(out), "--show", "2"])
    assert done.exit_code == 0, done.output
    assert "60 pictures measured by a, by the 10 nearest of 60." in done.output
    lines = list(csv.DictReader(io.StringIO(out.read_text())))
    expected = np.argsort(-by_hand(values_of(60)), kind="stable")
    assert [int(line["row"]) for line in lines] == expected.tolist()
    told = json.loads(runner.invoke(cli, ["outliers", str(folder), "--json", "--show", "3"]).output)
    assert [one["row"] for one in told["rows"]] == expected[:3].tolist()
    assert (told["measured"], told["neighbours"]) == (60, 10)
