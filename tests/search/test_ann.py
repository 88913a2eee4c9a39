"""The approximate index: built, grown, never stale, its recall measured."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pixelmill import catalog
from pixelmill.errors import QueryError
from pixelmill.models.weights import WeightsCache
from pixelmill.search.ann import RECALL, open_index, update_index
from pixelmill.search.exact import top_k
from pixelmill.search.norms import Norms
from pixelmill.search.query import Row
from pixelmill.search.searcher import Searcher
from pixelmill.store.reader import Store
from tests.support.clusters import CENTRES, DIM, ROWS, add

pytest.importorskip("faiss", reason="faiss-cpu is not installed")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    add(tmp_path / "store", 0, ROWS)
    return tmp_path / "store"


def recall(folder: Path) -> float:
    """Of the ten nearest to 100 other vectors, counted here and not by the index."""
    view = Store(folder)["a"]
    index = open_index(view, Norms())
    assert index is not None
    random = np.random.default_rng(99)
    queries = (CENTRES[random.integers(0, 60, 100)] + 0.4 * random.standard_normal((100, DIM))).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    everything = np.ones(len(view), dtype=bool)
    exact, _ = top_k(view, queries, 10)
    found = [set(index.top_k(query, 10, allowed=everything)[0][0].tolist()) for query in queries]
    return float(np.mean([len(set(wanted.tolist()) & got) / 10 for wanted, got in zip(exact, found, strict=True)]))


def test_it_finds_what_it_says(store: Path) -> None:
    """The recorded recall reaches the goal without looking everywhere, and holds for queries it has not seen."""
    done = update_index(store, "a")
    index = open_index(Store(store)["a"], Norms())
    assert index is not None
    assert (done.rows, done.added, done.anew) == (ROWS, ROWS, True)
    assert done.recall >= RECALL
    assert index.described.looked_into < index.described.lists / 2
    assert recall(store) >= RECALL - 0.05


def test_scores_are_exact(store: Path) -> None:
    """What it finds is scored by the stored vectors, not by the eight bits that it keeps."""
    update_index(store, "a")
    view = Store(store)["a"]
    index = open_index(view, Norms())
    assert index is not None
    query = (CENTRES[3] / np.linalg.norm(CENTRES[3])).astype(np.float32)
    rows, scores = index.top_k(query, 10, allowed=np.ones(ROWS, dtype=bool))
    vectors = view.take(rows[0]).astype(np.float64)
    np.testing.assert_allclose(scores[0], vectors @ query / np.linalg.norm(vectors, axis=1), atol=1e-6)
    assert (np.diff(scores[0]) <= 0).all()


def test_it_grows_by_what_is_new(store: Path) -> None:
    """A second update adds the new rows alone, a third nothing; one file is left."""
    update_index(store, "a")
    add(store, ROWS, ROWS + 500)
    done = update_index(store, "a")
    assert (done.rows, done.added, done.anew) == (ROWS + 500, 500, False)
    assert update_index(store, "a").added == 0
    assert len(list((store / "index").glob("*.faiss"))) == 1
    assert recall(store) >= RECALL - 0.05


def test_it_is_made_anew_when_it_was_chosen_for_far_fewer(tmp_path: Path) -> None:
    """Five times as many rows as when the lists were chosen: they are chosen again."""
    add(tmp_path / "store", 0, 300)
    update_index(tmp_path / "store", "a")
    add(tmp_path / "store", 300, 1500)
    assert update_index(tmp_path / "store", "a").anew


def searcher(folder: Path) -> Searcher:
    return Searcher(folder, find=catalog.get, cache=WeightsCache(folder / "none", offline=True))


def test_rows_after_it_are_found_and_that_is_said(store: Path) -> None:
    """A result is never stale: every newer row is compared exactly, and the answer says how many there were."""
    update_index(store, "a")
    asked = searcher(store)
    before = asked.search([Row(5)], 10, copies=True)
    assert f"{done_recall(store):.0%}" in before.notes[0]
    add(store, ROWS, ROWS + 300)
    view = Store(store)["a"]
    target = int(top_k(view, view.take([5]).astype(np.float32), 1, allowed=np.arange(len(view)) >= ROWS)[0][0, 0])
    found = asked.search([Row(5)], 300, copies=True)
    assert target in [hit.row for hit in found.hits]
    assert "300 rows came after the index" in found.notes[1]


def done_recall(folder: Path) -> float:
    index = open_index(Store(folder)["a"], Norms())
    assert index is not None
    return index.described.recall[index.described.looked_into]


def test_what_must_not_appear_does_not(store: Path) -> None:
    """Rows that are not allowed are passed over inside the index as well."""
    update_index(store, "a")
    view = Store(store)["a"]
    index = open_index(view, Norms())
    assert index is not None
    allowed = np.arange(ROWS) % 2 == 1
    rows, _ = index.top_k((CENTRES[3] / np.linalg.norm(CENTRES[3])).astype(np.float32), 50, allowed=allowed)
    assert (rows[0] % 2 == 1).all()


@pytest.mark.parametrize("harm", ["cut off", "of another store", "gone"])
def test_an_index_that_does_not_belong_is_not_used(store: Path, tmp_path: Path, harm: str) -> None:
    """A cut file, an index copied from another store, a missing file: exact search, and the update makes it anew."""
    update_index(store, "a")
    path = next((store / "index").glob("*.faiss"))
    if harm == "cut off":
        os.truncate(path, path.stat().st_size // 2)
    elif harm == "gone":
        path.unlink()
    else:
        text = next((store / "index").glob("*.json"))
        text.write_text(text.read_text().replace(Store(store).manifest.store_id, "0" * 32))
    assert open_index(Store(store)["a"], Norms()) is None
    assert searcher(store).search([Row(5)]).notes == ()
    assert update_index(store, "a").anew


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    """An index of a handful of rows is no use, and the message says how many it takes."""
    add(tmp_path / "store", 0, 12)
    with pytest.raises(QueryError, match=r"at least 40 vectors of a for an index. Found 12"):
        update_index(tmp_path / "store", "a")
