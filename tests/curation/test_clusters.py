"""Clusters: which pictures are together, what they are called by, kept up by nights, as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pixelmill.cli.main import cli
from pixelmill.curation import clusters as module
from pixelmill.curation import near
from pixelmill.curation.clusters import find_clusters
from pixelmill.curation.nights import keep_up
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from tests.support.labelled import clouds, labelled_store

LABELS = np.arange(300) % 6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of six heaps that lie well by themselves; blocks so small that there are several."""
    monkeypatch.setattr(near, "TILE", 64)
    return labelled_store(tmp_path / "store", {"a": clouds(LABELS, 16, 0.3)}, {"nothing": [1.0] * 300})


def test_heaps_are_clusters_called_by_the_picture_in_their_middle(folder: Path) -> None:
    """Each has the pictures of one heap, and the path of the one nearest to its centre, which is one of them."""
    with StoreWriter(folder) as writer:
        found = find_clusters(writer, number=6)
    store = Store(folder)
    column = store.columns["cluster"]
    assert sorted(found.sizes.tolist()) == [50] * 6
    for heap in range(6):
        (name,) = set(column[heap == LABELS])
        (medoid,) = [row for row in found.made.medoids if LABELS[row] == heap]
        assert name == store.place(medoid)[1] == column[medoid]
        vectors = store["a"].take(np.flatnonzero(heap == LABELS))
        centre = vectors.mean(axis=0)
        assert store["a"][medoid] @ centre >= (vectors @ centre).max() - 0.02


def test_each_picture_is_with_the_middle_that_it_is_most_like(tmp_path: Path) -> None:
    """Also where heaps run into each other; so many clusters come of so many pictures when nobody says how many."""
    vectors = clouds(LABELS, 16, 3.0)
    folder = labelled_store(tmp_path / "store", {"a": vectors}, {"nothing": [1.0] * 300})
    with StoreWriter(folder) as writer:
        found = find_clusters(writer)
    assert len(found.names) == 12
    best = (vectors @ vectors[list(found.made.medoids)].T).argmax(axis=1)
    assert Store(folder).columns["cluster"].tolist() == [found.names[at] for at in best]


def test_the_same_store_gives_the_same_clusters(folder: Path) -> None:
    """Whatever was drawn by lot."""
    with StoreWriter(folder) as writer:
        assert find_clusters(writer).made == find_clusters(writer).made


def test_a_night_puts_what_is_new_into_the_clusters_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else changes; where nobody has asked, or nothing is new, nothing is done."""
    with StoreWriter(folder) as writer:
        assert keep_up(writer) == ()
        assert "cluster" not in Store(folder).columns
        monkeypatch.setattr(MatrixView, "rows", property(lambda self: np.arange(250)))
        find_clusters(writer, number=6)
        before = Store(folder).columns["cluster"]
        assert set(before[250:]) == {""}
        monkeypatch.undo()
        assert keep_up(writer) == ()
        after = Store(folder).columns["cluster"]
        assert after[:250].tolist() == before[:250].tolist()
        assert all(after[row] == after[LABELS[row]] for row in range(250, 300))
        monkeypatch.setattr(module, "_homes", None)
        assert keep_up(writer) == ()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_hardly_any_pictures_have_clusters(tmp_path: Path, rows: int) -> None:
    """Equal ones have one; more clusters than pictures cannot be."""
    folder = labelled_store(tmp_path / "store", {"a": np.ones((rows, 4), np.float32)}, {"nothing": [1.0] * rows})
    with StoreWriter(folder) as writer:
        assert find_clusters(writer, number=5).sizes.tolist() == [rows]


def test_the_command_tells_the_largest_first(folder: Path) -> None:
    """As a table and as JSON."""
    runner = CliRunner()
    done = runner.invoke(cli, ["clusters", str(folder), "--number", "6", "--show", "2"])
    assert done.exit_code == 0, done.output
    assert "6 clusters by a. The column cluster has them." in done.output
    told = json.loads(runner.invoke(cli, ["clusters", str(folder), "--json"]).output)
    assert sum(one["pictures"] for one in told["clusters"]) == 300
    sizes = [one["pictures"] for one in told["clusters"]]
    assert sizes == sorted(sizes, reverse=True)
