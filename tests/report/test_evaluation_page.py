"""Models compared, as a page: what was measured is on it, in words and drawn, and it needs nothing else."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageColor

from pixelmill.cli.main import cli
from pixelmill.evaluation.measures import MEASURES
from pixelmill.evaluation.told import Agreement, Cost, Evaluation, Measured, Pictures, Scores
from pixelmill.report.draw import GOOD, QUIET
from pixelmill.report.evaluation_page import as_page
from pixelmill.report.evaluation_plots import plots
from tests.support.labelled import clouds, labelled_store

NAMES = ("good", "<b>odd</b>", "slow")
VALUES = (0.9, 0.4, 0.5)


@pytest.fixture
def told() -> Evaluation:
    """Three models, one of which no run has measured."""
    measures = [
        {name: Measured(value=value, low=value - 0.1, high=value + 0.1, pictures=100) for name in MEASURES}
        for value in VALUES
    ]
    del measures[2]["zero_shot"]
    costs = [Cost(dim=8, gb_per_million=0.032, images_per_second=pace) for pace in (100.0, 20.0, None)]
    return Evaluation(
        store="/stores/a & b", labels="kind", folds=5, seed=0, probe="ridge", best=dict.fromkeys(MEASURES, ("good",)),
        pictures=Pictures(rows=120, usable=100, compared=100, classes=4, without_label=20),
        scores=tuple(
            Scores(name=name, models=(name,), weights=(1.0,), measures=of, cost=cost)
            for name, of, cost in zip(NAMES, measures, costs, strict=True)
        ),
        agreement=(Agreement(models=("good", "slow"), cka=0.25),), notes=("The probe had not settled.",),
    )  # fmt: skip


def test_a_dot_stands_where_the_number_is(told: Evaluation) -> None:
    """In the row of its model, blue for the best, within its interval; the scale goes from 0 to 1."""
    figure = next(plots(told))
    pixels = np.asarray(Image.open(io.BytesIO(figure.webp)).convert("RGB"))
    between = (np.arange(pixels.shape[1]) > 230) & (np.arange(pixels.shape[1]) < 650)  # neither name nor number
    for number, (value, colour) in enumerate(zip(VALUES, (GOOD, QUIET, QUIET), strict=True)):
        row = pixels[12 + 24 * number + 3]  # below the line, where the dot alone is
        (drawn,) = np.nonzero((row == ImageColor.getrgb(colour)).all(axis=1) & between)
        assert abs(drawn.mean() - (230 + value * (692 - 230 - 46))) < 1.5


def test_each_measure_has_a_plot_that_says_its_numbers(told: Evaluation) -> None:
    """To those who do not see it as well. What a model lacks is left out, and who has no pace, of pace."""
    figures = {figure.title: figure for figure in plots(told)}
    assert list(figures) == [*MEASURES.values(), "5-NN beside images/s"]
    assert "good: 0.900, 0.800 to 1.000" in figures["mAP"].alt
    assert "slow" not in figures["zero-shot"].alt
    assert figures["5-NN beside images/s"].alt.endswith("good: 100.0; <b>odd</b>: 20.0")


def test_the_page_has_all_and_needs_nothing(told: Evaluation) -> None:
    """Words, tables, plots; no name of a model is markup, nothing is fetched."""
    page = as_page(told)
    for words in (
        "<h1>Models compared by kind</h1>", "100 pictures of 4 classes by kind", "Best by 1-NN: good.",
        "<td style=\"text-align: right\">0.900 [0.800, 1.000]</td>", "0.250", "20 of 120 rows have no label.",
        "The probe had not settled.", "/stores/a &amp; b", "&lt;b&gt;odd&lt;/b&gt;",
    ):  # fmt: skip
        assert words in page
    assert "<b>" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == len(MEASURES) + 1
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_the_command_writes_it(tmp_path: Path) -> None:
    """Beside the table; a folder that is not there is told."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    labels = np.arange(40) % 2
    store = labelled_store(tmp_path / "store", {"a": clouds(labels, 6, 0.8)}, {"kind": [f"{n}" for n in labels]})
    out = tmp_path / "compared.html"
    asked = ["evaluate", str(store), "--labels", "kind", "--page"]
    done = CliRunner().invoke(cli, [*asked, str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "5-NN" in done.output
    assert "<h1>Models compared by kind</h1>" in out.read_text()
    refused = CliRunner().invoke(cli, [*asked, str(tmp_path / "none" / "x.html")])
    assert (refused.exit_code, "x.html" in str(refused.exception)) == (1, True)
