"""Exact search gives what float64 arithmetic over the whole matrix gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.search.best import Best
from pixelmill.search.exact import BLOCK, top_k
from pixelmill.search.kernels import FEW, kernel_for, squares
from pixelmill.search.norms import Norms
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.reader import Ensemble, MatrixView, Store
from pixelmill.store.rows import Content, ShardRows, Vectors
from tests.support.stores import file_of, provenance, sha256

ROWS = BLOCK + 77
RANDOM = np.random.default_rng(3)


@pytest.fixture(scope="module", params=["float32", "float16"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two matrices in parts of different sizes; each lacks rows that the other has; lengths differ much."""
    folder = tmp_path_factory.mktemp("search") / "store"
    with StoreWriter(folder) as writer:
        a = writer.matrix(provenance("a", dim=48), request.param)
        b = writer.matrix(provenance("b", dim=20), "float32")
        for start, stop in ((0, 5000), (5000, 5003), (5003, ROWS)):
            made = {}
            for matrix, lacking in ((a, 7), (b, 11)):
                index = np.flatnonzero(np.arange(start, stop) % lacking != 3)
                values = RANDOM.standard_normal((len(index), matrix.provenance.dim)) + 0.3
                values *= RANDOM.uniform(0.1, 20, (len(index), 1))
                made[matrix.provenance.fingerprint] = Vectors(index, values.astype(np.float32))
            contents = [Content(file_of(n), sha256(n), 8, 8) for n in range(start, stop)]
            writer.commit(ShardRows(contents, made))
    return Store(folder)


def whole(matrix: MatrixView | Ensemble) -> np.ndarray:
    return matrix.read().astype(np.float64)


def by_hand(
    vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines in float64, sorted."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors / lengths) @ (queries / np.linalg.norm(queries, axis=1, keepdims=True)).T.astype(np.float64)
    cosines[np.isnan(cosines)] = -2
    if allowed is not None:
        cosines[~allowed] = -2
    order = np.argsort(-cosines, axis=0, kind="stable")[:k].T
    return order, np.take_along_axis(cosines.T, order, axis=1)


@pytest.mark.parametrize("dim", [48, 512, 2048])
def test_half_precision_is_summed_in_single(dim: int) -> None:
    """Whatever the processor offers: squared lengths beyond what float16 holds, and dot products."""
    stored = (RANDOM.standard_normal((500, dim)) * RANDOM.uniform(0.1, 60, (500, 1))).astype(np.float16)
    exact = stored.astype(np.float64)
    np.testing.assert_allclose(squares(stored), (exact**2).sum(axis=1), rtol=2e-6)
    asked = (queries(2, dim) / np.sqrt(dim)).astype(np.float16)
    kernel = kernel_for(asked.astype(np.float32), stored.dtype)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(kernel.dots(stored) / lengths, exact @ asked.T.astype(np.float64) / lengths, atol=2e-6)


def queries(number: int, dim: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((number, dim)).astype(np.float32)


@pytest.mark.parametrize("number", [1, FEW, FEW + 1, 40])
def test_it_is_what_float64_says(store: Store, number: int) -> None:
    """One query or many at once: the rows, in order, and the cosines are those of float64 arithmetic."""
    asked = queries(number, 48)
    rows, scores = top_k(store["a"], asked, 10)
    wanted, cosines = by_hand(whole(store["a"]), asked, 10)
    assert rows.tolist() == wanted.tolist()
    np.testing.assert_allclose(scores, cosines, atol=1e-6)


@pytest.mark.parametrize("rows", [ROWS, 5000])
def test_a_search_leaves_the_cores_to_others(store: Store, rows: int) -> None:
    """By many threads or by this one alone: what computes afterwards, here and in new threads, has as many as before."""
    import torch

    def cores() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as new:
            return torch.get_num_threads(), new.submit(torch.get_num_threads).result()

    kept = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        top_k(store["a"], queries(FEW + 1, 48), 10, allowed=np.arange(ROWS) < rows)
        assert cores() == (3, 3)
    finally:
        torch.set_num_threads(kept)


def test_rows_without_a_vector_and_rows_not_allowed_never_appear(store: Store) -> None:
    """Even when everything is asked for, a row of NaN or outside `allowed` is not given, and what lacks is -1."""
    allowed = np.arange(ROWS) % 2 == 0
    rows, scores = top_k(store["a"], queries(1, 48), ROWS, allowed=allowed)
    given, padding = rows[0][rows[0] >= 0], rows[0] < 0
    assert sorted(given.tolist()) == np.flatnonzero(allowed & store["a"].embedded).tolist()
    assert np.isnan(scores[0][padding]).all()
    assert not np.isnan(scores[0][~padding]).any()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("weights", [None, [0.7, 0.3]])
@pytest.mark.parametrize("number", [1, FEW + 1])
def test_an_ensemble_is_compared_as_it_is_exported(
    store: Store, normalize: bool, weights: list[float] | None, number: int
) -> None:
    """Cosines over several models are those of the matrix that `export` would write; rows that one lacks are absent."""
    ensemble = store.concatenated(["b", "a"], normalize=normalize, weights=weights)
    asked = queries(number, 68)
    rows, scores = top_k(ensemble, asked, 20)
    exact = np.hstack([_side(m, w, normalize) for m, w in zip(ensemble.members, ensemble.weights, strict=True)])
    wanted, cosines = by_hand(exact, asked, 20)
    assert rows.tolist() == wanted.tolist()
    np.testing.assert_allclose(scores, cosines, atol=1e-6)


def _side(member: MatrixView, weight: float, normalize: bool) -> np.ndarray:
    values = whole(member)
    return weight * (values / np.linalg.norm(values, axis=1, keepdims=True) if normalize else values)


def test_equal_rows_come_in_their_order(tmp_path: Path) -> None:
    """Of many rows that are all the same, the lowest come first, whichever thread saw them."""
    with StoreWriter(tmp_path / "store") as writer:
        matrix = writer.matrix(provenance("a", dim=8), "float16")
        values = np.tile(np.arange(1, 9, dtype=np.float32), (ROWS, 1))
        contents = [Content(file_of(n), sha256(n), 8, 8) for n in range(ROWS)]
        writer.commit(ShardRows(contents, {matrix.provenance.fingerprint: Vectors(np.arange(ROWS), values)}))
    rows, scores = top_k(Store(tmp_path / "store")["a"], np.arange(1, 9, dtype=np.float32)[None], 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]]
    assert scores[0] == pytest.approx(1)


def test_lengths_are_computed_once_a_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second search over the same parts computes no length of a stored vector again."""
    from pixelmill.search import norms as module

    calls: list[int] = []
    real = module._norms

    def counted(vectors: np.ndarray) -> Any:
        calls.append(len(vectors))
        return real(vectors)

    monkeypatch.setattr(module, "_norms", counted)
    kept = Norms()
    for _ in range(2):
        top_k(store["a"], queries(1, 48), 3, norms=kept)
    assert sum(calls) == sum(extent.rows for extent in store["a"].matrix.extents)


def test_search_goes_on_after_compaction(tmp_path: Path) -> None:
    """Merged parts give what the small ones gave."""
    with StoreWriter(tmp_path / "store") as writer:
        matrix = writer.matrix(provenance("a", dim=8), "float32")
        for start in range(0, 40, 4):
            values = np.random.default_rng(start).standard_normal((4, 8)).astype(np.float32)
            contents = [Content(file_of(n), sha256(n), 8, 8) for n in range(start, start + 4)]
            writer.commit(ShardRows(contents, {matrix.provenance.fingerprint: Vectors(np.arange(4), values)}))
        before = top_k(Store(tmp_path / "store")["a"], queries(1, 8), 40)
        compact(writer, retention=0)
    after = top_k(Store(tmp_path / "store")["a"], queries(1, 8), 40)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-30, 30), min_size=2, max_size=2), min_size=1, max_size=400),
    st.integers(1, 12), st.integers(1, 90),
)  # fmt: skip
def test_the_best_of_blocks_are_the_best_of_all(scores: list[list[int]], k: int, block: int) -> None:
    """Whatever the order and the blocks: every score within the slack of the k best is kept."""
    values = np.array(scores, np.float32)
    best = Best(2, k, slack=1.5)
    for start in range(0, len(values), block):
        best.add(start, values[start : start + block])
    for query, kept in enumerate(best.by_query()):
        floor = np.sort(values[:, query])[::-1][min(k, len(values)) - 1]
        wanted = np.flatnonzero(values[:, query] >= floor - 1.5)
        assert set(wanted.tolist()) <= set(kept.tolist())
