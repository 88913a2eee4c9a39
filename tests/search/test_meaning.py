"""Words find what they mean: a CLIP that was trained here, over pictures that it has not seen, beside one that was not."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from pixelmill.models.base import ModelSpec
from pixelmill.models.weights import WeightsCache
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.search.query import Text
from pixelmill.search.searcher import Searcher
from tests.support.captioned import KINDS, caption, draw, train

STEPS = 400
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    """The trained model, and the same as it was born."""
    folder = tmp_path_factory.mktemp("clip")
    return {spec.name: spec for spec in (train(folder, steps=STEPS), train(folder, steps=0))}


@pytest.fixture(scope="module")
def searcher(specs: dict[str, ModelSpec], tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """A store of a new picture for each caption, by both models, made as any run makes it."""
    folder = tmp_path_factory.mktemp("meaning")
    (folder / "photos").mkdir()
    chance = Random(99)
    for number, kind in enumerate(KINDS):
        draw(kind, chance).save(folder / f"photos/{number}.png")
    job = Job(
        sources=(str(folder / "photos"),), store=folder / "store", specs=tuple(specs.values()),
        cache=CacheSpec(cache_dir=folder / "weights"), precision="float32",
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    run(job)
    return Searcher(folder / "store", find=specs.__getitem__, cache=WeightsCache(folder / "weights"))


def found_among(searcher: Searcher, model: str, first: int) -> float:
    """Share of the captions whose picture is among the first so many."""
    right = 0
    for number, kind in enumerate(KINDS):
        hits = searcher.search([Text(caption(kind))], first, models=[model], copies=True).hits
        right += f"{number}.png" in [hit.path for hit in hits]
    return right / len(KINDS)


def test_words_find_their_picture(searcher: Searcher) -> None:
    """Most captions find their own picture, new to the model, among the first three of 72 (chance: 4%)."""
    assert found_among(searcher, f"clip_{STEPS}", 3) >= 0.7


def test_an_untrained_control_does_not(searcher: Searcher) -> None:
    """The same architecture without training finds few: the search does not know the answer from elsewhere."""
    assert found_among(searcher, "clip_0", 3) <= 0.2


def test_words_can_be_taken_away(searcher: Searcher) -> None:
    """`circle` without `red` gives circles of other colours than `circle` with `red` does."""
    model = [f"clip_{STEPS}"]
    words = "a big red circle on white"
    plus = searcher.search([Text("a big blue circle on white"), Text(words)], 6, models=model, copies=True)
    minus = searcher.search([Text("a big blue circle on white"), Text(words, -0.5)], 6, models=model, copies=True)

    def reds(paths: list[str]) -> int:
        return sum(KINDS[int(Path(path).stem)][1] == "red" for path in paths)

    assert reds([hit.path for hit in minus.hits]) < reds([hit.path for hit in plus.hits])
