"""Ensembles under a name: no bytes, the members' rows, gone on with."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelmill.errors import StoreError, UnknownModel
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.ensembles import drop, keep
from pixelmill.store.export import export
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.stores import provenance, shard_rows


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Models in two dtypes; the second lacks some rows."""
    with StoreWriter(tmp_path / "store") as writer:
        a, b = writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")
        writer.commit(shard_rows(range(6), [a, b], only={"b": range(4)}))
        keep(writer, "both", ["b", "a"], [0.25, 0.75])
    return tmp_path / "store"


def check(folder: Path) -> None:
    """Plain h5py gives the members' raw rows side by side; NaN in the columns of one that lacks a row."""
    opened = Store(folder)
    expected = np.hstack([opened["b"].read(), opened["a"].read()])
    with h5py.File(folder / "vectors.h5") as file:
        np.testing.assert_array_equal(file["ensembles/both"][:], expected)
        assert list(file["ensembles/both"].attrs["models"]) == ["b", "a"]
        assert file["ensembles/both"].attrs["weights"].tolist() == [0.25, 0.75]
    assert opened.ensembles == ["both"]
    assert verify(folder) == []


def test_it_is_a_view_that_takes_no_room(store: Path) -> None:
    """No part is written for it, and it shows the members' rows."""
    check(store)
    assert len(list((store / "parts").iterdir())) == 1


def test_it_follows_commits_compaction_and_repair(store: Path) -> None:
    """New rows appear in it; merged parts and a rebuilt master show the same."""
    with StoreWriter(store) as writer:
        matrices = [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]
        writer.commit(shard_rows(range(6, 9), matrices))
        check(store)
        compact(writer, retention=0)
    check(store)
    (store / "vectors.h5").unlink()
    repair(store)
    check(store)


def test_it_is_exported_by_its_name(store: Path, tmp_path: Path) -> None:
    """`export` of the name is `export` of its models with its weights."""
    opened = Store(store)
    by_name = export(opened, opened.concatenated(["both"], normalize=True), tmp_path / "name.npy")
    by_hand = export(
        opened, opened.concatenated(["b", "a"], weights=[0.25, 0.75], normalize=True), tmp_path / "hand.npy"
    )
    assert by_name.shape == by_hand.shape == (4, 8)
    np.testing.assert_array_equal(np.load(tmp_path / "name.npy"), np.load(tmp_path / "hand.npy"))


def test_it_is_no_model(store: Path) -> None:
    """Where one matrix is asked for, or several are put together, its name is told to be that of an ensemble."""
    for ask in (lambda: Store(store)["both"], lambda: Store(store).concatenated(["a", "both"])):
        with pytest.raises(
            UnknownModel, match=r"Got 'both', an ensemble: name it alone, .*\. The store has: a, b, both"
        ):
            ask()


def test_dropping_it_leaves_a_store_that_older_programs_open(store: Path) -> None:
    """With it the store is of format 2; without any, of format 1 to the byte of its fields."""
    assert Store(store).manifest.format_version == 2
    with StoreWriter(store) as writer:
        drop(writer, "both")
    assert Store(store).manifest.format_version == 1
    assert b"ensembles" not in (store / "manifest.json").read_bytes()
    with h5py.File(store / "vectors.h5") as file:
        assert file.attrs["format_version"] == 1
        assert "ensembles" not in file


def test_what_cannot_be_kept_is_refused(store: Path) -> None:
    """Unknown models, names of models, names with a slash, weights that do not fit, one model alone."""
    with StoreWriter(store) as writer:
        for name, models, weights, error in (
            ("x", ["a", "nope"], None, UnknownModel),
            ("a", ["a", "b"], None, StoreError),
            ("x/y", ["a", "b"], None, StoreError),
            ("x", ["a", "b"], [1.0], StoreError),
            ("x", ["a", "b"], [1.0, -1.0], StoreError),
            ("x", ["a"], None, StoreError),
            ("x", ["a", "a"], None, StoreError),
        ):
            with pytest.raises(error):
                keep(writer, name, models, weights)
        with pytest.raises(StoreError, match="There are: both"):
            drop(writer, "bath")
    check(store)
