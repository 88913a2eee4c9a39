"""Search while a model's generations change places: results, ensembles and the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelmill import catalog
from pixelmill.models.weights import WeightsCache
from pixelmill.search.ann import update_index
from pixelmill.search.query import Row
from pixelmill.search.searcher import Found, Searcher
from pixelmill.store import ensembles
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, ShardRows, Vectors
from tests.support.stores import file_of, provenance, record_files, sha256

ROWS, DIM = 600, 8


def vectors(generation: int) -> np.ndarray:
    return np.random.default_rng(generation).standard_normal((ROWS, DIM)).astype(np.float32)


def fill(writer: StoreWriter, model: str, generation: int, rows: slice) -> Matrix:
    """Commit `rows` of a generation, and let it serve if it is complete."""
    matrix = writer.matrix(provenance(model, dim=DIM, version=generation), "float32")
    numbers = range(ROWS)[rows]
    record_files(writer, numbers)
    contents = [Content(file_of(n), sha256(n), 8, 8) for n in numbers]
    made = {matrix.provenance.fingerprint: Vectors(np.arange(len(numbers)), vectors(generation)[rows])}
    writer.commit(ShardRows(contents, made))
    writer.serve([matrix.provenance.fingerprint])
    return matrix


def nearest(generation: int, row: int) -> int:
    """The row nearest to another, by NumPy."""
    units = vectors(generation) / np.linalg.norm(vectors(generation), axis=1, keepdims=True)
    cosines = units @ units[row]
    cosines[row] = -2
    return int(cosines.argmax())


@pytest.fixture
def writer(tmp_path: Path) -> StoreWriter:
    made = StoreWriter(tmp_path / "store")
    fill(made, "a", 0, slice(None))
    return made


@pytest.fixture
def searcher(writer: StoreWriter, tmp_path: Path) -> Searcher:
    return Searcher(writer.folder, find=catalog.get, cache=WeightsCache(tmp_path / "cache"))


def ask(searcher: Searcher, *models: str) -> Found:
    return searcher.search([Row(5)], 1, models=models or ("a",))


def test_one_searcher_sees_the_old_one_until_the_switch_and_then_the_new_one(
    writer: StoreWriter, searcher: Searcher
) -> None:
    """A half-filled generation changes no result; the publish that completes it changes all of them, unasked."""
    assert ask(searcher).hits[0].row == nearest(0, 5)
    fill(writer, "a", 1, slice(0, ROWS // 2))
    assert ask(searcher).hits[0].row == nearest(0, 5)
    fill(writer, "a", 1, slice(ROWS // 2, ROWS))
    assert nearest(0, 5) != nearest(1, 5)
    assert ask(searcher).hits[0].row == nearest(1, 5)


def test_a_kept_ensemble_follows_the_switch(writer: StoreWriter, searcher: Searcher) -> None:
    """Its rows are those of the generation that serves, in the search and in the master."""
    fill(writer, "b", 7, slice(None))
    ensembles.keep(writer, "both", ["a", "b"])
    for generation in (0, 1):
        fill(writer, "a", generation, slice(None))
        expected = np.hstack([vectors(generation), vectors(7)])
        np.testing.assert_array_equal(Store(writer.folder).concatenated(["both"]).read(), expected)
        assert ask(searcher, "both").models == ("a", "b")


def test_the_index_of_the_old_one_is_not_used_for_the_new_one(writer: StoreWriter, searcher: Searcher) -> None:
    """After the switch the search is exact and says that the index is stale; one for the new generation ends that, and
    what belongs to a generation that was dropped is deleted."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    update_index(writer.folder, "a")
    assert "through the index" in ask(searcher).notes[0]
    fill(writer, "a", 1, slice(None))
    found = ask(searcher)
    assert found.hits[0].row == nearest(1, 5)
    assert [note[:23] for note in found.notes] == ["The index of a is stale"]
    compact(writer, keep_generations=0)
    update_index(writer.folder, "a")
    assert "through the index" in ask(searcher).notes[0]
    key = writer.snapshot().manifest.matrices[0].key
    assert {file.name[:16] for file in (writer.folder / "index").glob("[!.]*")} == {key}
