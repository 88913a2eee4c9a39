"""Groups around the picture to keep: by their definition, over any blocks, brought up to date or made anew."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pixelmill.curation import cells, near, stars, update
from pixelmill.curation.cells import Cells
from pixelmill.curation.stars import NOBODY, AllEarlier
from pixelmill.curation.update import TooMuch, updated
from pixelmill.store.reader import MatrixView, Store
from tests.support.labelled import labelled_store

DIM = 8


def heaps(rows: int, seed: int) -> np.ndarray:
    """Loose heaps, chains whose ends are unlike, equal rows, and rows of length 0."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(rows // 8, 1), DIM))
    values = centres[random.integers(0, len(centres), rows)]
    values = values + random.standard_normal((rows, DIM)) * random.uniform(0.0, 0.5, (rows, 1))
    values[random.integers(0, rows, rows // 10)] = values[0]
    values[random.integers(0, rows, 3)] = 0
    return values.astype(np.float32)


def view_of(folder: Path, values: np.ndarray) -> MatrixView:
    return Store(labelled_store(folder, {"a": values}, {"nothing": [1.0] * len(values)}))["a"]


def by_definition(values: np.ndarray, order: np.ndarray, threshold: float) -> list[int]:
    """One by one, every pair in float64: each row's best kept one that is better, by places in the order."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = (values / np.where(lengths == 0, 1, lengths))[order].astype(np.float64)
    cosines, kept, owners = unit @ unit.T, list[int](), list[int]()
    for i in range(len(unit)):
        owners.append(next((k for k in kept if cosines[k, i] >= threshold - near.ROUNDING), NOBODY))
        if owners[-1] == NOBODY:
            kept.append(i)
    return owners


def nothing() -> None:
    pass


def exact(view: MatrixView, order: np.ndarray, threshold: float, block: int = 64) -> np.ndarray:
    return stars.stars(view, order, threshold, AllEarlier(view, order, threshold), block=block, check=nothing)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few rows lie in many blocks of each kind."""
    monkeypatch.setattr(near, "TILE", 48)
    monkeypatch.setattr(stars, "_STRETCH", 16)
    monkeypatch.setattr(update, "_AT_ONCE", 16)


@pytest.mark.parametrize("threshold", [0.8, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_the_definition(tmp_path: Path, threshold: float, seed: int) -> None:
    """Over random heaps, in random orders, whatever the blocks; and there are groups to find."""
    values, order = heaps(300, seed), np.random.default_rng(seed).permutation(300)
    view = view_of(tmp_path / "store", values)
    expected = by_definition(values, order, threshold)
    assert sum(owner != NOBODY for owner in expected) > 20
    for block in (1, 50, 64, 1000):
        assert exact(view, order, threshold, block).tolist() == expected


def test_pairs_on_the_threshold_come_out_the_same_in_every_block(tmp_path: Path) -> None:
    """Rows whose cosines differ from it by less than float32 can tell."""
    angle = np.arccos(0.97) + np.random.default_rng(0).uniform(-1e-6, 1e-6, 200)
    values = np.zeros((201, DIM), np.float32)
    values[0, 0] = 1
    values[1:, 0], values[np.arange(1, 201), 1 + np.arange(200) % (DIM - 1)] = np.cos(angle), np.sin(angle)
    view, order = view_of(tmp_path / "store", values), np.arange(201)
    expected = by_definition(values, order, 0.97 + near.ROUNDING)
    assert 20 < sum(owner == 0 for owner in expected) < 180
    for block in (1, 7, 64, 1000):
        assert exact(view, order, 0.97 + near.ROUNDING, block).tolist() == expected


def test_a_chain_of_look_alikes_is_not_one_group(tmp_path: Path) -> None:
    """Each looks like the next, the ends do not look alike: each duplicate looks like the one that is kept for it."""
    angles = np.arange(40) * 0.2
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)[:15]
    view = view_of(tmp_path / "store", values)
    owners = exact(view, np.arange(15), 0.97)
    assert owners.tolist() == [-1, 0] + [n - n % 2 if n % 2 else -1 for n in range(2, 15)]


def test_rows_that_are_all_equal_make_one_group(tmp_path: Path) -> None:
    """Without a list of all their pairs."""
    values = np.ones((1000, DIM), np.float32)
    view, order = view_of(tmp_path / "store", values), np.random.default_rng(1).permutation(1000)
    assert exact(view, order, 0.97).tolist() == [NOBODY] + [0] * 999


@pytest.mark.parametrize("seed", range(12))
def test_an_update_gives_what_going_through_all_anew_gives(tmp_path: Path, seed: int) -> None:
    """Rows come, go and get other merits; those that come may be better to keep than all there were."""
    values, random = heaps(300, seed), np.random.default_rng(seed)
    view = view_of(tmp_path / "store", values)
    merit = random.integers(0, 60, 300)
    there = random.random(300) < 0.8
    owners = np.full(300, NOBODY, np.int64)
    was = _full(view, np.flatnonzero(there), merit, owners)
    now, changed = there ^ (random.random(300) < 0.1), random.random(300) < 0.03
    merit = np.where(changed, random.integers(0, 60, 300), merit)
    as_before = there & now & ~changed
    again = now & (~as_before | ((was != NOBODY) & ~as_before[was]))
    rows = np.flatnonzero(now)
    order = np.lexsort((rows, merit[rows]))
    result = updated(view, rows, order, np.where(now, was, NOBODY), again, 0.9, nothing)
    expected = _full(view, rows, merit, owners)
    assert result.tolist() == expected[rows].tolist()
    assert (result != was[rows]).sum() > 3, "else nothing had to be done"


def _full(view: MatrixView, rows: np.ndarray, merit: np.ndarray, owners: np.ndarray) -> np.ndarray:
    by_merit = rows[np.lexsort((rows, merit[rows]))]
    found, result = exact(view, by_merit, 0.9), owners.copy()
    taken = found != NOBODY
    result[by_merit[taken]] = by_merit[found[taken]]
    return result


def test_an_update_on_which_too_much_hangs_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pairs than there is room for."""
    view, rows = view_of(tmp_path / "store", np.ones((100, DIM), np.float32)), np.arange(100)
    monkeypatch.setattr(update, "_MOST_PAIRS", 1000)
    with pytest.raises(TooMuch):
        updated(view, rows, rows, np.full(100, NOBODY), np.ones(100, bool), 0.9, nothing)


def test_cells_find_nearly_all_and_say_how_much(tmp_path: Path) -> None:
    """Of 3,000 rows in 55 cells; each duplicate looks like the one kept for it, as always, and the share of the
    duplicates that are found is about what was measured, or more."""
    values = heaps(3000, 5)
    view, order = view_of(tmp_path / "store", values), np.random.default_rng(2).permutation(3000)
    made = Cells.of(view, order, 0.97, nothing)
    found = stars.stars(view, order, 0.97, made, block=256, check=nothing)
    expected = exact(view, order, 0.97, 256)
    taken = found != NOBODY
    assert made.looks.shape[1] < 55
    assert made.recall >= cells.RECALL
    assert near.cosines_of(view, order[taken], order[found[taken]]).min() >= 0.97 - 2e-6
    assert taken.sum() / (expected != NOBODY).sum() >= 0.98


def test_cells_of_rows_without_look_alikes_say_that_nothing_was_measured(tmp_path: Path) -> None:
    """No recall is made up."""
    values = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    view = view_of(tmp_path / "store", values)
    assert np.isnan(Cells.of(view, np.arange(200), 0.97, nothing).recall)


@pytest.mark.parametrize("are_equal", [True, False])
def test_memory_does_not_grow_with_the_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, are_equal: bool) -> None:
    """Of 10,000 rows there are 50 million pairs, which all look alike or of which none do: 15 MB are enough."""
    monkeypatch.setattr(near, "TILE", 512)
    monkeypatch.setattr(stars, "_STRETCH", 256)
    values = np.random.default_rng(0).standard_normal((10_000, 16)).astype(np.float32)
    view, order = view_of(tmp_path / "store", np.ones_like(values) if are_equal else values), np.arange(10_000)
    assert view.embedded.all()
    tracemalloc.start()
    try:
        found = exact(view, order, 0.97, 512)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found != NOBODY).sum() == (9_999 if are_equal else 0)
    assert peak < 15e6, f"{peak / 1e6:.0f} MB"


def test_no_rows_have_no_groups(tmp_path: Path) -> None:
    """Nor has one."""
    view = view_of(tmp_path / "store", np.ones((3, DIM), np.float32))
    assert exact(view, np.arange(0), 0.97).tolist() == []
    assert exact(view, np.arange(1), 0.97).tolist() == [NOBODY]
