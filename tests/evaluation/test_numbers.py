"""Each number of an evaluation, beside plain scikit-learn on the same folds."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")

from sklearn.linear_model import LogisticRegression, RidgeClassifier  # noqa: E402
from sklearn.metrics import average_precision_score  # noqa: E402
from sklearn.model_selection import StratifiedKFold  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402

from pixelmill.evaluation import blocks, neighbours, probe  # noqa: E402
from pixelmill.evaluation.agreement import linear_cka  # noqa: E402
from pixelmill.evaluation.folds import fold_of, sample  # noqa: E402
from pixelmill.evaluation.intervals import best_of, measured  # noqa: E402
from pixelmill.evaluation.measures import Asked, by_picture  # noqa: E402
from pixelmill.evaluation.probe import Probe, probe_for  # noqa: E402
from pixelmill.evaluation.retrieval import retrieve  # noqa: E402
from pixelmill.evaluation.weights import search_weights, side_by_side, weightings, weights_by_fold  # noqa: E402
from pixelmill.heads import logistic  # noqa: E402
from tests.support.labelled import clouds  # noqa: E402

LABELS = np.random.default_rng(1).integers(0, 7, 300)
VECTORS = clouds(LABELS, 16, 1.5)
ASKED = Asked(LABELS, fold_of(LABELS), np.ones(300, bool))


def measures_of(kind: str) -> dict[str, np.ndarray]:
    return by_picture(ASKED, Probe(kind), lambda _fold: VECTORS)[0]  # type: ignore[arg-type]


def on_folds(fit_predict: object) -> np.ndarray:
    """(N,): whether each picture is predicted rightly by what was fitted to the other folds."""
    right = np.empty(300)
    for fold in range(5):
        known = ASKED.folds != fold
        right[~known] = fit_predict(VECTORS[known], LABELS[known], VECTORS[~known]) == LABELS[~known]  # type: ignore[operator]
    return right


@pytest.mark.parametrize(("k", "name"), [(1, "neighbour_1"), (5, "neighbours_5")])
def test_neighbours_are_those_of_scikit_learn(k: int, name: str) -> None:
    """KNeighborsClassifier by cosine answers the same for each picture; among as many votes the nearest decides."""

    def nearest_decides(distances: np.ndarray) -> np.ndarray:
        return np.tile(1 + 1e-3 * 0.5 ** np.arange(k), (len(distances), 1))

    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=nearest_decides)
    assert (measures_of("logistic")[name] == on_folds(lambda x, y, q: model.fit(x, y).predict(q))).all()


def test_neighbours_are_the_same_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's are those of faiss, also in many blocks."""
    pytest.importorskip("faiss")
    with_faiss = neighbours.nearest_labels(VECTORS[:50], VECTORS[50:], LABELS[50:], 5)
    monkeypatch.setattr(neighbours, "_has_faiss", lambda: False)
    monkeypatch.setattr(blocks, "_CELLS", 1000)
    assert (neighbours.nearest_labels(VECTORS[:50], VECTORS[50:], LABELS[50:], 5) == with_faiss).all()


def scaled(known: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = (known - known.mean(axis=0)).std()
    return (known - known.mean(axis=0)) / spread, (asked - known.mean(axis=0)) / spread


def test_the_probe_is_scikit_learns_logistic_regression() -> None:
    """Fitted to the centred training vectors over one spread, it answers the same; one picture may lie on the border."""

    def plain(x: np.ndarray, y: np.ndarray, q: np.ndarray) -> np.ndarray:
        known, asked = scaled(x, q)
        return np.asarray(LogisticRegression(C=logistic.PENALTY, max_iter=2000, tol=1e-6).fit(known, y).predict(asked))

    assert np.count_nonzero(measures_of("logistic")["probe"] != on_folds(plain)) <= 2


def test_least_squares_are_scikit_learns_ridge() -> None:
    """RidgeClassifier with that penalty answers the same for each picture."""

    def plain(x: np.ndarray, y: np.ndarray, q: np.ndarray) -> np.ndarray:
        known, asked = scaled(x, q)
        return np.asarray(RidgeClassifier(probe.RIDGE * len(known)).fit(known, y).predict(asked))

    assert (measures_of("least_squares")["probe"] == on_folds(plain)).all()


def test_which_probe() -> None:
    """Logistic regression for a few classes; not for ten thousand."""
    assert probe_for(20_000, 512, 10).kind == "logistic"
    assert probe_for(20_000, 512, 10_000).kind == "least_squares"


@pytest.mark.parametrize("vectors", [VECTORS, np.sign(VECTORS) / 4], ids=["plain", "equally near"])
def test_average_precision_is_that_of_scikit_learn(vectors: np.ndarray) -> None:
    """Of each query, also where many pictures are equally near."""
    found = retrieve(vectors, LABELS, np.arange(300))
    cosines = vectors @ vectors.T
    for query in range(300):
        others = np.arange(300) != query
        truth = average_precision_score(LABELS[others] == LABELS[query], cosines[query, others])
        assert found.precision[query] == pytest.approx(truth, abs=1e-3), query


def test_the_first_of_its_label() -> None:
    """Its rank among the others by cosine: what recall at k counts."""
    found = retrieve(VECTORS, LABELS, np.arange(300))
    cosines = VECTORS @ VECTORS.T
    np.fill_diagonal(cosines, -2)
    for query in range(300):
        ranked = LABELS[np.argsort(-cosines[query])]
        assert found.first[query] == np.flatnonzero(ranked == LABELS[query])[0] + 1
    assert measures_of("logistic")["recall_at_5"].mean() == np.mean(found.first <= 5)


def test_folds_are_stratified() -> None:
    """As evenly as scikit-learn's; the two of a pair never share one; the same each time."""
    many = np.repeat(np.arange(40), 13)
    own, plain = fold_of(many), np.empty_like(many)
    for number, (_, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(many, many)):
        plain[test] = number
    for folds in (own, plain):
        counts = np.array([np.bincount(folds[many == label], minlength=5) for label in range(40)])
        assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    pairs = np.repeat(np.arange(1000), 2)
    assert (fold_of(pairs)[::2] != fold_of(pairs)[1::2]).all()
    assert (fold_of(many) == own).all()


def test_a_sample_keeps_pairs() -> None:
    """Two of each class come first, then the same share of each."""
    labels = np.concatenate([np.zeros(9000, int), np.repeat(np.arange(1, 301), 3)])
    counts = np.bincount(labels[sample(labels, 1500)], minlength=301)
    assert counts.sum() == 1500
    assert (counts[1:] >= 2).all()
    few = np.bincount(labels[sample(labels, 100)], minlength=301)
    assert set(few[few > 0]) == {2}


def test_intervals_hold_the_truth() -> None:
    """Of 200 made-up samples of a known mean, about 95% of the intervals hold it."""
    rng = np.random.default_rng(3)
    answers = (rng.random((400, 200)) < 0.7).astype(float)
    held = [one.low <= 0.7 <= one.high for one in measured(answers)]
    assert 0.89 <= np.mean(held) <= 0.99


def test_what_is_not_told_apart() -> None:
    """The same answers but for one stand beside the best, far worse ones do not."""
    rng = np.random.default_rng(4)
    good = (rng.random(500) < 0.8).astype(float)
    nearly = good.copy()
    nearly[np.flatnonzero(good)[0]] = 0
    assert best_of({"bad": 1 - good, "nearly": nearly, "good": good}) == ("good", "nearly")


def test_agreement() -> None:
    """Turned and scaled vectors agree wholly, unrelated ones hardly; by the formula on Gram matrices, which is another."""
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((16, 16)))[0].astype(np.float32)
    assert linear_cka(VECTORS, 3 * VECTORS @ turn) == pytest.approx(1, abs=1e-4)
    other = np.random.default_rng(6).standard_normal((300, 8)).astype(np.float32)
    centre = np.eye(300) - 1 / 300
    a, b = (centre @ (x @ x.T) @ centre for x in (VECTORS, other))
    gram = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert linear_cka(VECTORS, other) == pytest.approx(gram, abs=1e-4)
    assert gram < 0.2


def test_weights_know_nothing_of_the_rows_that_are_asked_about() -> None:
    """Those of a fold stay when its labels and vectors become others; those of other folds change: had a row leaked,
    this would be seen."""
    folds, rng = fold_of(LABELS), np.random.default_rng(7)
    members = [VECTORS, clouds(LABELS, 8, 1.5, seed=9)]
    before, changed = weights_by_fold(members, LABELS, folds), 0
    for fold in range(5):
        here = folds == fold
        labels = np.where(here, rng.integers(0, 7, 300), LABELS)
        noise = [np.where(here[:, None], clouds(rng.integers(0, 7, 300), m.shape[1], 9), m) for m in members]
        after = weights_by_fold(noise, labels, folds)
        assert after[fold] == before[fold]
        changed += after != before
    assert changed


def test_weights_prefer_the_model_that_knows() -> None:
    """Beside noise, the good one gets most of the cosine; what is side by side has length 1."""
    noise = clouds(np.random.default_rng(8).integers(0, 7, 300), 64, 9)
    good, bad = search_weights([clouds(LABELS, 64, 1.5), noise], LABELS, 0)
    assert good**2 >= 0.7 > bad**2
    assert np.linalg.norm(side_by_side([VECTORS, noise], (good, bad)), axis=1) == pytest.approx(1, abs=1e-5)
    assert all(len(weightings(models)) <= 41 for models in range(2, 8))


@pytest.mark.slow
def test_ten_thousand_classes() -> None:
    """20,000 pictures in pairs: measured within minutes and 1 GB."""
    labels = np.repeat(np.arange(10_000), 2)
    vectors = clouds(labels, 128, 0.3)
    asked = Asked(labels, fold_of(labels), np.ones(len(labels), bool))
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, _ = by_picture(asked, probe_for(20_000, 128, 10_000), lambda _fold: vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e9
    assert values["neighbour_1"].mean() > 0.95
    assert values["probe"].mean() > 0.5
    assert values["recall_at_1"].mean() > 0.95
