"""The flow that compares models on a store's own pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from flows.evaluate import evaluate
from pixelmill.evaluation.kept import names, read_kept
from pixelmill.evaluation.measures import MEASURES
from pixelmill.evaluation.told import Evaluation
from tasks._artifacts import key_of
from tests.support.artifacts import artifacts_of
from tests.support.labelled import clouds, labelled_store

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
pytestmark = pytest.mark.usefixtures("prefect_api")


def test_what_came_of_it_is_an_artifact(tmp_path: Path) -> None:
    """The state says which model is best, the artifact has tables and plots, the result is as the command's JSON."""
    labels = np.arange(60) % 3
    vectors = {"good": clouds(labels, 8, 0.8), "random": clouds(labels, 8, 1e6, seed=5)}
    store = labelled_store(tmp_path / "store", vectors, {"kind": [f"k{n}" for n in labels]})
    state = evaluate("kind", models=["good", "random"], store=str(store), return_state=True)
    told = Evaluation.model_validate(state.result())
    assert [one.name for one in told.scores] == ["good", "random"]
    kept = read_kept(store, names(store)[0])
    assert kept is not None
    assert kept.evaluation == told
    assert state.message.startswith("Best by 1-NN: good.")
    text = artifacts_of(state)[key_of("evaluate", store)]
    assert text.startswith("# Models compared by kind\n\n60 pictures of 3 classes by kind")
    good, random = (one.measures["probe"] for one in told.scores)
    assert f"{good.value:.3f} \\[{good.low:.3f}, {good.high:.3f}\\]" in text
    assert f"random: {random.value:.3f}, {random.low:.3f} to {random.high:.3f}" in text
    assert len(re.findall(r"\(data:image/webp;base64,", text)) == len(MEASURES) - 1  # no words, and no run's pace


def test_without_a_store_there_is_nothing_to_compare(tmp_path: Path) -> None:
    """It ends well, with a word."""
    state = evaluate("folder", store=str(tmp_path / "none"), return_state=True)
    assert (state.result(), "There is no store in " in state.message) == ({}, True)
