"""The map and the groups of near-duplicates are what plain arithmetic on the whole matrix gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.rows import Content, ShardRows, Vectors
from pixelmill.web.duplicates import near_duplicates
from pixelmill.web.map import project
from pixelmill.web.vectors import BLOCK
from tests.support.stores import file_of, provenance, sha256

ROWS = BLOCK + 500
LACKING = 7


@pytest.fixture(scope="module", params=["float32", "float16"])
def view(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MatrixView:
    """More rows than a block, stretched along two axes; every seventh is not embedded; some are alike."""
    random = np.random.default_rng(5)
    values = random.standard_normal((ROWS, 24)) * np.array([9, 5, *[1] * 22]) + 0.5
    for copy, of in ((40, 3), (41, 3), (ROWS - 1, 40), (1000, 999)):
        values[copy] = values[of] * 2 + random.standard_normal(24) * 0.01
    folder = tmp_path_factory.mktemp("overview") / "store"
    with StoreWriter(folder) as writer:
        matrix = writer.matrix(provenance("a", dim=24), request.param)
        index = np.flatnonzero(np.arange(ROWS) % LACKING)
        vectors = {matrix.provenance.fingerprint: Vectors(index, values[index].astype(np.float32))}
        writer.commit(ShardRows([Content(file_of(n), sha256(n), 8, 8) for n in range(ROWS)], vectors))
    return Store(folder)["a"]


def unit(view: MatrixView) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are embedded, and their unit vectors."""
    rows = np.flatnonzero(view.embedded)
    values = view.read()[rows].astype(np.float64)
    return rows, values / np.linalg.norm(values, axis=1, keepdims=True)


def test_the_map_is_the_principal_components_of_the_unit_vectors(view: MatrixView) -> None:
    """Up to the sign of an axis, the points are those of a singular value decomposition of the whole matrix."""
    rows, vectors = unit(view)
    found = project(view, rows)
    centred = vectors - vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    signs = np.sign((expected * found.points).sum(axis=0))
    np.testing.assert_allclose(found.points, expected * signs, atol=2e-4)
    assert found.explained == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), abs=1e-4)
    assert found.rows.tolist() == rows.tolist()


def test_a_map_is_the_same_each_time_and_says_what_it_leaves_out(view: MatrixView) -> None:
    """Of more images than it shows, the newest are on it."""
    rows = np.flatnonzero(view.embedded)
    one, two = (project(view, rows, most=100) for _ in range(2))
    np.testing.assert_array_equal(one.points, two.points)
    assert (one.rows.tolist(), one.of) == (rows[-100:].tolist(), len(rows))


@pytest.mark.parametrize("images", [0, 1, 2])
def test_a_map_of_hardly_anything_is_a_map(view: MatrixView, images: int) -> None:
    """No image, one, and two."""
    found = project(view, np.flatnonzero(view.embedded)[:images])
    assert found.points.shape == (images, 2)
    assert np.isfinite(found.points).all()


def agglomerated(cosines: np.ndarray, threshold: float) -> set[frozenset[int]]:
    """Complete link by its definition: the two groups whose least alike members are the most alike become one."""
    groups = [[i] for i in range(len(cosines))]
    while True:
        pairs = [(cosines[np.ix_(a, b)].min(), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i])]
        alike, i, j = max(pairs)
        if alike < threshold:
            return {frozenset(group) for group in groups if len(group) > 1}
        groups[j] += groups.pop(i)


@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.97])
def test_groups_are_those_of_complete_link(tmp_path: Path, threshold: float) -> None:
    """Of images in loose heaps, in chains whose ends are unlike; every two of a group are as alike as asked for."""
    random = np.random.default_rng(3)
    heaps = random.standard_normal((6, 8))
    values = heaps[random.integers(0, 6, 60)] + random.standard_normal((60, 8)) * random.uniform(0.1, 0.6, (60, 1))
    with StoreWriter(tmp_path / "store") as writer:
        matrix = writer.matrix(provenance("a", dim=8), "float32")
        vectors = {matrix.provenance.fingerprint: Vectors(np.arange(60), values.astype(np.float32))}
        writer.commit(ShardRows([Content(file_of(n), sha256(n), 8, 8) for n in range(60)], vectors))
    rows, unit_vectors = unit(Store(tmp_path / "store")["a"])
    cosines = unit_vectors @ unit_vectors.T
    chained = [a for a in range(60) if (cosines[a] >= threshold).sum() > 2]
    found = near_duplicates(Store(tmp_path / "store")["a"], rows, threshold=threshold)
    assert {frozenset(group) for group in found.groups} == agglomerated(cosines, threshold)
    assert min(cosines[np.ix_(group, group)].min() for group in found.groups) >= threshold
    assert chained, "else every way of linking gives the same"
    assert [len(group) for group in found.groups] == sorted(map(len, found.groups), reverse=True)


def test_groups_are_looked_for_across_blocks(view: MatrixView) -> None:
    """Four that are alike, far apart; those without a vector are in no group."""
    rows, vectors = unit(view)
    found = near_duplicates(view, rows, threshold=0.999)
    assert (3, 40, 41, ROWS - 1) in found.groups
    assert (999, 1000) in found.groups
    position = {row: i for i, row in enumerate(rows.tolist())}
    members = [position[row] for group in found.groups for row in group]
    assert len(members) == len(set(members))
    for group in found.groups:
        some = vectors[[position[row] for row in group]]
        assert (some @ some.T).min() >= 0.999 - 2e-6


def test_a_large_collection_is_compared_in_part_and_says_so(view: MatrixView) -> None:
    """The newest ones, as many as told."""
    rows = np.flatnonzero(view.embedded)
    found = near_duplicates(view, rows, threshold=0.999, most=50)
    assert (found.compared, found.of) == (50, len(rows))
    assert all(row in rows[-50:] for group in found.groups for row in group)
    assert near_duplicates(view, rows[:0], threshold=0.9).groups == ()
