"""Models of a store compared: which pictures, which candidates, what is told, what is refused."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pixelmill.cli.main import cli, main
from pixelmill.errors import PixelmillError, QueryError, UnknownColumn, UnknownModel
from pixelmill.evaluation.evaluate import Asking, evaluate
from pixelmill.evaluation.kept import names, read_kept
from pixelmill.evaluation.labels import labels_of
from pixelmill.evaluation.told import Evaluation
from pixelmill.evaluation.zero_shot import text_vectors, words_of, zero_shot
from pixelmill.store import ensembles
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from tests.support.checkpoints import TinyModels, make_tiny_models
from tests.support.labelled import clouds, labelled_store
from tests.support.searchable import make_store, paint, prepared

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")

STAMPS = Path(os.environ.get("STAMPS", "/usr/share/tuxpaint/stamps"))
LABELS = np.arange(200) % 4
NAMES = [f"kind {label}" for label in LABELS]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model, one that drew lots, and columns of each kind; 200 pictures."""
    vectors = {"good": clouds(LABELS, 24, 0.8), "random": clouds(LABELS, 16, 1e6, seed=5)}
    columns: dict[str, list[object]] = {
        "kind": [*NAMES], "light": [float(n) for n in range(200)], "number": [int(n) for n in LABELS],
        "same": ["one"] * 200, "own": [f"{n}" for n in range(200)],
        "some": ["alone", "alone too", *NAMES[2:150], *[None] * 50],
    }  # fmt: skip
    return labelled_store(tmp_path_factory.mktemp("labelled") / "store", vectors, columns)


@pytest.fixture(scope="module")
def told(store: Path) -> Evaluation:
    return evaluate(Store(store), Asking("kind"), speeds={"good": 20.0, "random": 5.0})


def test_the_random_model_is_told_from_the_good_one(told: Evaluation) -> None:
    """By every measure their intervals do not overlap, and the good one is among the best."""
    good, random, *_ = told.scores
    assert (good.name, random.name) == ("good", "random")
    for measure in set(good.measures) - {"recall_at_5", "recall_at_10"}:
        assert good.measures[measure].low > random.measures[measure].high, measure
        assert "good" in told.best[measure]
        assert "random" not in told.best[measure]


def test_models_side_by_side(told: Evaluation) -> None:
    """Unasked, all together: with equal weights and with those that are searched, which have a weighting a fold."""
    assert [one.name for one in told.scores] == ["good", "random", "good+random", "good+random (searched)"]
    equal, searched = told.scores[2:]
    assert equal.weights == (1, 1)
    assert not equal.weights_by_fold
    assert len(searched.weights_by_fold) == 5
    assert searched.weights[0] > searched.weights[1]
    assert told.agreement[0].models == ("good", "random")


def test_what_each_costs(told: Evaluation) -> None:
    """Room by dim and dtype; of models side by side, times add up."""
    good, _, both, _ = (one.cost for one in told.scores)
    assert (good.dim, good.gb_per_million, good.images_per_second, good.ms_per_image) == (24, 0.096, 20, 50)
    assert (both.dim, both.images_per_second, both.ms_per_image) == (40, 4, 250)


def test_the_same_again(store: Path, told: Evaluation) -> None:
    """The same store and question, the same answer."""
    assert evaluate(Store(store), Asking("kind"), speeds={"good": 20.0, "random": 5.0}) == told


def test_a_kept_ensemble_has_its_weights(tmp_path: Path) -> None:
    """Under its name; and a column named `folder` goes before the folders."""
    vectors = {"a": clouds(LABELS, 6, 0.8), "b": clouds(LABELS, 4, 0.8, seed=2)}
    folder = labelled_store(tmp_path / "store", vectors, {"folder": [*NAMES]})
    with StoreWriter(folder) as writer:
        ensembles.keep(writer, "both", ["a", "b"], [0.7, 0.3])
    told = evaluate(Store(folder), Asking("folder", ("both",)))
    assert told.scores[0].weights == (0.7, 0.3)
    assert told.pictures.classes == 4


def test_classes_of_one_picture_are_told(store: Path) -> None:
    """By name and number; and so are rows without a label. Nothing is asked of them."""
    told = evaluate(Store(store), Asking("some", ("good",)))
    assert (told.pictures.single_classes, told.pictures.singles) == (2, ("alone", "alone too"))
    assert (told.pictures.without_label, told.pictures.compared) == (50, 150)
    assert told.scores[0].measures["probe"].pictures == 148


def test_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    """Those whose file is gone, that lack a vector of one of the models, or that the condition leaves out."""
    lacking = clouds(LABELS, 6, 0.8)
    lacking[10:30] = np.nan
    folder = labelled_store(tmp_path / "s", {"a": clouds(LABELS, 6, 0.8), "b": lacking}, {"kind": [*NAMES]}, seen=190)
    told = evaluate(Store(folder), Asking("kind", where="row < 195", most=100))
    seen = told.pictures
    assert (seen.rows, seen.not_asked, seen.without_file, seen.without_vector) == (200, 5, 5, {"a": 0, "b": 20})
    assert (seen.usable, seen.compared) == (170, 100)


def test_folders_are_labels(store: Path) -> None:
    """The folder of each picture, below its source."""
    labels = labels_of(Store(store), "folder")
    assert labels.classes == tuple("0123456")
    assert labels.of_rows[9] == 2


@pytest.mark.parametrize(
    ("asking", "error", "words"),
    [
        (Asking("kid"), UnknownColumn, "Did you mean 'kind'"),
        (Asking("foldr"), UnknownColumn, "Did you mean 'folder'"),
        (Asking("light"), QueryError, "'light' holds measured numbers"),
        (Asking("same"), QueryError, "All 200 pictures have the label 'one'"),
        (Asking("own"), QueryError, "Each of 200 pictures has one of its own"),
        (Asking("kind", ("god",)), UnknownModel, "Did you mean 'good'"),
        (Asking("kind", ("good+rando",)), UnknownModel, "Did you mean 'random'"),
        (Asking("kind", ("good+good",)), QueryError, "each model once"),
        (Asking("some", where="kind = 'none'"), QueryError, "Found none: "),
        (Asking("kind", prompts=("a photo",)), QueryError, "where the label goes"),
        (Asking("kind", most=1), QueryError, "two pictures or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    store: Path, asking: Asking, error: type[PixelmillError], words: str
) -> None:
    """In words, with the nearest name where one is wrong."""
    with pytest.raises(error, match=words):
        evaluate(Store(store), asking)


def test_without_scikit_learn(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    real = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name.split(".")[0] == "sklearn":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(PixelmillError, match=r"pip install 'pixelmill\[evaluate\]'"):
        evaluate(Store(store), Asking("kind"))


def test_the_command_prints_a_table(store: Path) -> None:
    """A line a candidate, and what there is to know below it."""
    done = CliRunner().invoke(cli, ["evaluate", str(store), "--labels", "some", "--models", "good,random"])
    assert done.exit_code == 0, done.output
    for words in ("150 pictures of 6 classes", "good ", "random ", "Best by 5-NN: good.",
                  "50 of 200 rows have no label.", "2 classes have one picture", "alone, alone too"):  # fmt: skip
        assert words in done.stdout, words


def test_the_command_prints_json(store: Path) -> None:
    """One object, which is an `Evaluation`; what is under way goes to stderr."""
    done = CliRunner().invoke(cli, ["evaluate", str(store), "--labels", "kind", "--models", "good", "--json"])
    read = Evaluation.model_validate(json.loads(done.stdout))
    assert read.scores[0].name == "good"
    assert read.probe.startswith("logistic")
    assert "1 of 1: good" in done.stderr
    kept = read_kept(store, names(store)[0])
    assert kept is not None
    assert kept.evaluation == read


def test_a_wrong_column_is_wrong_usage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the nearest name."""
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(store), "--labels", "kin"])
    assert stop.value.code == 2
    assert "Did you mean 'kind'" in capsys.readouterr().err


def test_zero_shot_takes_the_nearest_words() -> None:
    """Unit vectors of prompts, on average; of a path the last folder, without underscores."""
    assert (words_of("animals/sea_lions"), words_of("red-fox"), words_of("/")) == ("sea lions", "red fox", "/")
    seen: list[str] = []

    def encode(texts: Any) -> np.ndarray:
        seen.extend(texts)
        return np.array([[2.0, 0] if "cat" in text else [0, 3.0] for text in texts], np.float32)

    texts = text_vectors(["a/cat", "dog"], ["a {}.", "the {}."], encode)
    assert seen == ["a cat.", "a dog.", "the cat.", "the dog."]
    assert (texts == np.eye(2)).all()
    assert (zero_shot(np.array([[0.8, 0.6], [0, 1]], np.float32), texts) == [0, 1]).all()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("upstream"))


@pytest.mark.slow
def test_zero_shot_where_there_is_a_text_tower(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to the model's own text tower by hand; of a model without one there is none. Labels that are numbers, and
    weights that cannot be had, cost this measure alone, and are told."""
    for name, colour in {"red": (220, 30, 30), "blue": (30, 40, 220)}.items():
        for number in range(4):
            paint(tmp_path / f"photos/{name}/{number}.png", colour, stripe=10 * number)
    make_store(tmp_path / "store", tmp_path / "photos", tiny, [tiny.openai_clip, tiny.torchvision])
    monkeypatch.chdir(prepared(tmp_path, tiny, monkeypatch))
    clip = tiny.openai_clip.name
    done = CliRunner().invoke(cli, ["evaluate", "store", "--labels", "folder", "--json"])
    scores = {one.name: one for one in Evaluation.model_validate(json.loads(done.stdout)).scores}
    assert [name for name, one in scores.items() if "zero_shot" in one.measures] == [clip]

    from pixelmill.cli.search import searcher_of

    snapshot = Store(tmp_path / "store")
    encoder = searcher_of(snapshot, None, "cpu").encoder(snapshot[clip].provenance.fingerprint)
    assert encoder is not None
    words = encoder.texts(["a photo of a blue.", "a photo of a red."])[0]
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    truth = [path.split(b"/")[0] == b"red" for path in snapshot.paths]
    right = ((snapshot[clip].read() @ words.T).argmax(axis=1) == truth).mean()
    assert scores[clip].measures["zero_shot"].value == pytest.approx(right)

    for file in tiny.folder.rglob("*"), (tmp_path / "weights").rglob("*"):
        for path in [one for one in file if one.is_file()]:
            path.rename(path.with_name(f"gone-{path.name}"))
    told = evaluate(snapshot, Asking("folder", (clip,)), texts=searcher_of(snapshot, None, "cpu").encoder)
    for path in [one for one in tiny.folder.rglob("gone-*") if one.is_file()]:
        path.rename(path.with_name(path.name.removeprefix("gone-")))
    assert "zero_shot" not in told.scores[0].measures
    assert f"Zero-shot of {clip} was left out" in told.notes[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not STAMPS.is_dir(), reason=f"tuxpaint-stamps-default is not installed ({STAMPS}; STAMPS names it)."
)
def test_real_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps by folder: the table tells efficientnet_lite0 from random weights, by intervals that do not overlap, and
    their ensemble is not the worse of the two."""
    import torch
    from torchvision.models import shufflenet_v2_x0_5

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(shufflenet_v2_x0_5().state_dict(), "random.pth")
    Path("pixelmill.toml").write_text(
        '[models.random]\nbackend = "torchvision"\narchitecture = "shufflenet_v2_x0_5"\ncheckpoint = "random.pth"\n'
    )
    asked = "efficientnet_lite0,random,efficientnet_lite0+random"
    runner = CliRunner()
    ran = runner.invoke(cli, ["run", str(STAMPS), "--store", "store", "--models", "efficientnet_lite0,random"])
    assert ran.exit_code == 0, ran.output
    done = runner.invoke(cli, ["evaluate", "store", "--labels", "folder", "--models", asked, "--json"])
    told = Evaluation.model_validate(json.loads(done.stdout))
    good, random, both, _ = told.scores
    for measure in good.measures:
        assert good.measures[measure].low > random.measures[measure].high, measure
        assert both.measures[measure].low > random.measures[measure].high, measure
    assert good.cost.images_per_second
    assert told.pictures.compared > 700
