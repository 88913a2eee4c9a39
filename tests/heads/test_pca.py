"""Matrices of heads: vectors projected to principal components, searched as those of a model are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.errors import WeightsRefused
from pixelmill.heads import pca
from pixelmill.heads.compute import compute_heads
from pixelmill.heads.head import FileHead, Head, PcaHead
from pixelmill.heads.told import HeadReport
from pixelmill.search.encoder import QueryEncoder
from pixelmill.search.query import Picture, Row, Text
from pixelmill.search.searcher import Searcher, default_model
from pixelmill.store import ensembles, matrix_writer
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import Store
from pixelmill.store.rows import Vectors
from pixelmill.store.verify import verify
from tests.support.checkpoints import TinyModels, make_tiny_models
from tests.support.crash import crashing
from tests.support.labelled import clouds, labelled_store
from tests.support.searchable import CACHE, make_store, paint
from tests.support.stores import provenance, record_files, shard_rows

ROWS, DIM = 90, 12
VECTORS = clouds(np.arange(ROWS) % 5, DIM, 0.3) * np.linspace(0.5, 3, ROWS, dtype=np.float32)[:, None]
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
THERE = np.arange(ROWS) != 7


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Vectors of one model; row 7 has none."""
    vectors = VECTORS.copy()
    vectors[7] = np.nan
    return labelled_store(tmp_path / "store", {"a": vectors}, {"other": ["x"] * ROWS})


def head(components: int = 4, *, whiten: bool = False) -> PcaHead:
    return PcaHead(kind="pca", model="a", components=components, whiten=whiten)


def no_encoder(made: Provenance) -> QueryEncoder:
    raise AssertionError("no text tower is needed")


def fill(store: Path, heads: dict[str, Head] | None = None, **more: Any) -> HeadReport:
    with StoreWriter(store) as writer:
        told, *_ = compute_heads(writer, heads or {"small": head()}, no_encoder, **more)
    return told


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("models"))


def add_pictures(store: Path, first: int, number: int, made: Provenance | None = None) -> None:
    with StoreWriter(store) as writer:
        record_files(writer, range(first, first + number))
        shard = shard_rows(range(first, first + number), [])
        made = made or provenance("a", dim=DIM)
        shard.vectors[made.fingerprint] = Vectors(np.arange(number), np.resize(VECTORS, (number, DIM)))
        writer.commit(shard)


@pytest.mark.parametrize("whiten", [False, True])
def test_it_is_scikit_learns(store: Path, whiten: bool) -> None:
    """PCA over the vectors of length 1, to the signs of its axes; a picture without a vector has none here either."""
    sklearn = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed (extra `evaluate`).")
    told = fill(store, {"small": head(4, whiten=whiten)})
    assert (told.kind, told.rows, told.pending, told.is_anew, told.problem) == ("pca", ROWS - 1, 0, False, "")
    reference = sklearn.PCA(4, whiten=whiten, svd_solver="covariance_eigh").fit(UNIT[THERE].astype(np.float64))
    view = Store(store)["small"]
    assert view.shape == (ROWS, 4)
    np.testing.assert_allclose(np.asarray(view)[THERE], reference.transform(UNIT[THERE]), atol=1e-5)
    assert np.isnan(view[7]).all()
    share = reference.explained_variance_ratio_.sum()
    assert told.notes == (f"Learnt from 89 pictures; {share:.1%} of their variance is kept.",)
    assert verify(store) == []


def test_a_store_of_half_precision(tmp_path: Path) -> None:
    """Its projections are stored as its vectors are."""
    folder = tmp_path / "half"
    with StoreWriter(folder) as writer:
        record_files(writer, range(ROWS))
        made = provenance("a", dim=DIM)
        writer.matrix(made, "float16")
        shard = shard_rows(range(ROWS), [])
        shard.vectors[made.fingerprint] = Vectors(np.arange(ROWS), VECTORS)
        writer.commit(shard)
    fill(folder)
    assert Store(folder)["small"].dtype == np.float16


def test_a_night_projects_what_is_new(store: Path) -> None:
    """By the axes of before, and writes nothing where nothing came; after a compaction as well."""
    fill(store)
    before, revision = np.asarray(Store(store)["small"]), Store(store).manifest.revision
    assert (fill(store).rows, Store(store).manifest.revision) == (0, revision)
    add_pictures(store, ROWS, 5)
    with StoreWriter(store) as writer:
        compact(writer)
    told = fill(store)
    assert (told.rows, told.is_anew, told.notes) == (5, False, ())
    after = np.asarray(Store(store)["small"])
    np.testing.assert_array_equal(after[:ROWS], before)
    np.testing.assert_allclose(after[ROWS:], before[:5], atol=1e-6)
    assert verify(store) == []


@pytest.mark.parametrize("change", ["components", "whiten", "vectors", "pictures", "lost", "damaged"])
def test_when_it_is_learnt_anew(store: Path, change: str) -> None:
    """Another definition, other vectors, four times the pictures, a file that is gone: a generation that takes the
    place of the old one when it is whole."""
    fill(store)
    (file,) = (store / "heads").iterdir()
    heads: dict[str, Head] = {"small": head(3) if change == "components" else head(whiten=change == "whiten")}
    rows = ROWS - 1
    if change == "vectors":
        rows = ROWS
        with StoreWriter(store) as writer:
            made = provenance("a", dim=DIM).model_copy(update={"fingerprint": "ab" * 32})
            writer.matrix(made, "float32")
            shard = shard_rows(range(ROWS), [])
            shard.vectors[made.fingerprint] = Vectors(np.arange(ROWS), -VECTORS)
            writer.commit(shard)
            writer.serve([made.fingerprint])
    elif change == "pictures":
        add_pictures(store, ROWS, 3 * ROWS - 4)
        rows += 3 * ROWS - 4
        assert fill(store).rows == 3 * ROWS - 4, "not four times as many yet"
        add_pictures(store, 4 * ROWS - 4, 1)
        rows += 1
    elif change == "lost":
        file.unlink()
    elif change == "damaged":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    told = fill(store, heads)
    if change in ("lost", "damaged"):  # the same axes of the same pictures: the matrix is the same
        assert (told.rows, told.is_anew) == (0, False)
    else:
        assert (told.rows, told.is_anew) == (rows, True)
    assert [kept.name for kept in sorted((store / "heads").iterdir())][-1:] != []
    view = Store(store)["small"]
    assert view.embedded.sum() == rows
    assert view.provenance.fingerprint == Store(store).manifest.matrices[-1].fingerprint
    assert fill(store, heads).rows == 0
    assert verify(store) == []


def test_one_that_the_settings_no_longer_name(store: Path) -> None:
    """Its matrix and its file go; those of others stay. A run without heads leaves all."""
    fill(store, {"small": head(), "tiny": head(2)})
    with StoreWriter(store) as writer:
        assert compute_heads(writer, {"tiny": head(2)}, no_encoder)[0].rows == 0
    assert Store(store).models == ["a", "tiny"]
    assert [file.name.split(".")[0] for file in (store / "heads").iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("name", "wanted", "words"),
    [
        ("small", head(13), "Expected at most 12 components: a has 12 dims, and 89 pictures with a vector. Got 13"),
        ("a", head(), "Expected a name that no model and no ensemble of the store has: a is one"),
        ("both", head(), "no ensemble of the store has: both is one"),
        ("small", PcaHead(kind="pca", model="none", components=2), "Expected a model with vectors"),
    ],
)
def test_what_cannot_be_projected(store: Path, name: str, wanted: PcaHead, words: str) -> None:
    """Is told in words, and costs itself."""
    fill(store, {"b": head(2)})
    with StoreWriter(store) as writer:
        ensembles.keep(writer, "both", ["a", "b"])
    heads: dict[str, Head] = {name: wanted, "b": head(2)}
    assert words in fill(store, heads).problem
    assert Store(store).models == ["a", "b"]


def test_too_few_pictures(tmp_path: Path) -> None:
    """Three points lie in a plane."""
    folder = labelled_store(tmp_path / "few", {"a": VECTORS[:3]}, {})
    assert "Expected at most 2 components: a has 12 dims, and 3 pictures" in fill(folder).problem
    assert fill(folder, {"small": head(2)}).rows == 3


def test_it_ends_at_its_time(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is told, and the next night goes on."""
    monkeypatch.setattr("pixelmill.heads.compute.OVERTIME", -1.0)
    told = fill(store, deadline=1.0)
    assert (told.rows, told.pending) == (0, ROWS - 1)
    assert "small" not in Store(store).models
    assert fill(store).rows == ROWS - 1


def test_a_matrix_is_searched(store: Path) -> None:
    """By pictures of the store, as brute force would; and it is not what a search takes by itself."""
    fill(store)
    opened = Store(store)
    assert default_model(opened, ()) == "a"
    found = Searcher(opened, cache=None).search([Row(3)], k=5, models=["small"], copies=True)  # type: ignore[arg-type]
    small = np.asarray(opened["small"])
    small = small / np.linalg.norm(small, axis=1, keepdims=True)
    cosines = np.nan_to_num(small @ small[3], nan=-1)
    cosines[3] = -1
    assert [hit.row for hit in found.hits] == np.argsort(-cosines)[:5].tolist()


def test_words_and_pictures_are_projected_too(tmp_path: Path, tiny: TinyModels) -> None:
    """A query's vector is what its model makes of it, projected as the rows were; without the axes it is refused."""
    colours = [(number * 23 % 256, number * 91 % 256, number * 57 % 256) for number in range(12)]
    for number, colour in enumerate(colours):
        paint(tmp_path / "photos" / f"{number}.png", colour, stripe=number * 4)
    clip = next(spec for spec in tiny.specs if spec.backend == "open_clip")
    folder = make_store(tmp_path / "store", tmp_path / "photos", tiny, [clip])
    heads: dict[str, Head] = {"small": PcaHead(kind="pca", model=clip.name, components=3)}
    fill(folder, heads)
    specs = {clip.name: clip}
    searcher = Searcher(folder, find=specs.__getitem__, cache=tiny.cache(tmp_path / CACHE))
    made = Store(folder)["small"].provenance
    from pixelmill.search.projection import read_projection

    projection = read_projection(folder, made)
    parent = searcher.encoder(projection.parent.fingerprint)
    own = searcher.encoder(made.fingerprint)
    assert parent is not None
    assert own is not None
    words, _ = parent.texts(["a red thing"])
    words = words / np.linalg.norm(words)
    np.testing.assert_allclose(own.texts(["a red thing"])[0], (words - projection.mean) @ projection.axes.T, atol=1e-6)
    found = searcher.search([Text("a red thing")], models=["small"])
    assert found.models == ("small",)
    picture = (tmp_path / "photos" / "5.png").read_bytes()
    hits = searcher.search([Picture(picture)], models=["small"]).hits
    assert (hits[0].row, round(hits[0].score, 4)) == (
        next(row for row in range(12) if Store(folder).place(row)[1] == "5.png"), 1.0,
    )  # fmt: skip
    for file in (folder / "heads").iterdir():
        file.unlink()
    other = Searcher(folder, find=specs.__getitem__, cache=tiny.cache(tmp_path / CACHE))
    assert other.search([Row(2)], models=["small"]).hits, "rows need no axes"
    with pytest.raises(WeightsRefused, match="Expected the projection that made the vectors of small"):
        other.search([Text("a red thing")], models=["small"])


@pytest.mark.slow
def test_a_death_at_any_step(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers see the old generation until the new one is whole; the next night completes it, and no axes are left
    that no matrix has."""
    monkeypatch.setattr(pca, "BLOCK", 2)
    fill(store)
    before = np.asarray(Store(store)["small"])
    heads: dict[str, Head] = {"small": head(3)}
    shutil.copytree(store, tmp_path / "count")
    with crashing(None) as steps:
        fill(tmp_path / "count", heads)
    after = np.asarray(Store(tmp_path / "count")["small"])
    assert steps.count > 20
    filled = set[int]()
    for fatal in range(steps.count):
        folder = tmp_path / f"death-{fatal}"
        shutil.copytree(store, folder)
        with crashing(fatal) as dying:
            fill(folder, heads)
        assert dying.died
        seen = np.asarray(Store(folder)["small"])
        np.testing.assert_array_equal(seen, after if seen.shape == after.shape else before)
        told = fill(folder, heads)
        assert not told.problem
        filled.add(told.rows)
        np.testing.assert_array_equal(np.asarray(Store(folder)["small"]), after)
        assert verify(folder) == [], dying.died
        assert len([*(folder / "heads").glob("small.*.safetensors")]) == 2
        shutil.rmtree(folder)
    assert {0, ROWS - 1} < filled, "what was published before the death is not made again"


def merge(store: Path) -> None:
    with StoreWriter(store) as writer:
        compact(writer)


def drop(store: Path) -> None:
    with StoreWriter(store) as writer:
        matrix_writer.drop(writer, [Store(store)["small"].provenance.fingerprint])


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (partial(add_pictures, first=ROWS, number=5), ""),
        (merge, ""),
        (fill, ""),
        (drop, "Expected the matrix of small as it was begun. Another process has dropped it. Run again."),
    ],
    ids=["added", "merged", "filled", "dropped"],
)
def test_others_write_meanwhile(
    store: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], Any], problem: str
) -> None:
    """Nothing is lost or mixed up, and the next night has nothing to do but what came."""
    monkeypatch.setattr(pca, "BLOCK", 2)
    real, acted = matrix_writer.fill, list[bool]()

    def filling(*arguments: Any) -> None:
        real(*arguments)
        if not acted:
            acted.append(True)
            act(store)

    monkeypatch.setattr("pixelmill.heads.pca.matrix_writer.fill", filling)
    assert fill(store).problem == problem
    came = len(Store(store)) - ROWS
    assert fill(store).rows == (ROWS - 1 if problem else came)
    assert Store(store)["small"].embedded.sum() == ROWS - 1 + came
    assert verify(store) == []


def test_a_head_that_was_one_of_columns(store: Path, tmp_path: Path) -> None:
    """Its columns go when it makes a matrix, and the matrix when it makes columns."""
    from safetensors.numpy import save_file

    save_file({"weight": np.ones((2, DIM), np.float32)}, tmp_path / "h", metadata={"labels": '["x", "y"]'})
    fill(store, {"small": FileHead(kind="file", model="a", file=tmp_path / "h")})
    fill(store)
    assert "small" not in Store(store).columns
    fill(store, {"small": FileHead(kind="file", model="a", file=tmp_path / "h")})
    assert Store(store).models == ["a"]
    assert "small" in Store(store).columns
