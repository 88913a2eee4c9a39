"""Searching a store with real (tiny) models: terms, filters, models, snapshots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelmill.errors import NoTextTower, QueryError, WeightsRefused
from pixelmill.models.base import TextModel
from pixelmill.models.load import load
from pixelmill.search.filters import Filters
from pixelmill.search.query import Picture, Row, Term, Text
from pixelmill.search.searcher import Found, Searcher
from tests.search.conftest import searcher_of
from tests.support.checkpoints import TinyModels
from tests.support.searchable import CACHE, make_store, paint

CLIP, OTHER, MUTE = "tiny_openai_clip", "tiny_open_clip", "tiny_resnet18"


def names(found: Found) -> list[str]:
    return [hit.path for hit in found.hits]


def picture(folder: Path, name: str, weight: float = 1.0) -> Picture:
    return Picture((folder / "photos" / name).read_bytes(), weight)


def row_of(searcher: Searcher, path: str) -> int:
    return searcher.store.paths.tolist().index(os.fsencode(path))


@pytest.mark.parametrize("model", [CLIP, OTHER, MUTE])
def test_a_picture_finds_itself(searcher: Searcher, made: Path, model: str) -> None:
    """A query picture is embedded as the matrix was: its own row comes first, at a cosine of 1."""
    found = searcher.search([picture(made, "cold/green.png")], models=[model])
    assert found.hits[0].path == "cold/green.png"
    assert found.hits[0].score == pytest.approx(1, abs=1e-5)
    assert found.hits[1].score < 0.99999
    assert found.hits[0].absolute == str(made / "photos/cold/green.png")


@pytest.mark.parametrize("model", [CLIP, OTHER])
def test_words_are_embedded_by_the_model_that_made_the_matrix(
    searcher: Searcher, made: Path, tiny: TinyModels, model: str
) -> None:
    """Every row's score is the cosine of its vector to the text's vector by that very model."""
    spec = next(spec for spec in tiny.specs if spec.name == model)
    loaded = load(spec, tiny.cache(made / CACHE))
    assert isinstance(loaded, TextModel)
    with torch.inference_mode():
        text = loaded.encode_text(loaded.tokenize(["a red thing"]).ids)[0].numpy()
    found = searcher.search([Text("a red thing")], 100, models=[model], copies=True)
    for hit in found.hits:
        row = searcher.store[model].read()[hit.row]
        assert hit.score == pytest.approx(row @ text / np.linalg.norm(row) / np.linalg.norm(text), abs=1e-5)
    assert len(found.hits) == len(searcher.store)


def test_terms_are_unit_vectors_added_with_their_signs(searcher: Searcher, made: Path) -> None:
    """Text plus picture minus row is the sum of their unit vectors, whatever their lengths are."""
    row = row_of(searcher, "cold/blue.png")
    text, image = Text("a circle"), picture(made, "warm/red.png")
    one_by_one = [searcher.vector([term], [CLIP]).vector for term in (text, image, Row(row))]
    wanted = one_by_one[0] + one_by_one[1] - 0.5 * one_by_one[2]
    got = searcher.vector([text, image, Row(row, -0.5)], [CLIP]).vector
    np.testing.assert_allclose(got, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert np.linalg.norm(got) == pytest.approx(1, abs=1e-6)


def test_a_row_does_not_find_itself(searcher: Searcher) -> None:
    """A search by row gives its neighbours; a subtracted row may appear."""
    row = row_of(searcher, "warm/red.png")
    assert row not in [hit.row for hit in searcher.search([Row(row)], 100, models=[MUTE], copies=True).hits]
    assert row in [hit.row for hit in searcher.search([Row(row, -1.0)], 100, models=[MUTE], copies=True).hits]


def test_several_models_are_searched_as_they_are_exported(searcher: Searcher, made: Path) -> None:
    """The scores are the cosines of the weighted unit vectors side by side."""
    term, models, weights = picture(made, "warm/red.png"), [CLIP, MUTE], [0.9, 0.4]
    found = searcher.search([term], 100, models=models, weights=weights, copies=True)
    query = np.concatenate([w * searcher.vector([term], [m]).vector for m, w in zip(models, weights, strict=True)])
    rows = searcher.store.concatenated(models, weights=weights, normalize=True).read()
    wanted = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    assert found.model == f"{CLIP}+{MUTE}"
    for hit in found.hits:
        assert hit.score == pytest.approx(wanted[hit.row], abs=1e-5)


def test_a_long_text_is_told_about(searcher: Searcher) -> None:
    """Words beyond the context length have no say, and the answer says how many tokens that are."""
    found = searcher.search([Text("word " * 20)], models=[CLIP])
    assert "16 tokens" in found.notes[0]
    assert "6 tokens at the end had no say" in found.notes[0]
    assert searcher.search([Text("word")], models=[CLIP]).notes == ()


def test_a_model_without_words_names_those_that_have_them(searcher: Searcher) -> None:
    """Words with an image classifier are refused; the message names the models of this store that understand them."""
    with pytest.raises(NoTextTower, match=f"{MUTE} knows pictures only. In this store these do: {OTHER}, {CLIP}"):
        searcher.search([Text("a circle")], models=[MUTE])


def test_words_choose_a_model_that_understands_them(searcher: Searcher) -> None:
    """Without a model named, words go to one with a text tower."""
    assert searcher.search([Text("a circle")]).model in (CLIP, OTHER)


def test_what_looks_the_same_is_one_result(searcher: Searcher) -> None:
    """A JPEG of a PNG is listed with it, unless copies are asked for."""
    both = {"large/red.png", "large/again.jpg"}
    together = searcher.search([Row(row_of(searcher, "warm/red.png"))], 100, models=[MUTE])
    shown = [hit for hit in together.hits if hit.path in both]
    assert len(shown) == 1
    assert len(shown[0].copies) == 1
    each = searcher.search([Row(row_of(searcher, "warm/red.png"))], 100, models=[MUTE], copies=True)
    assert both <= set(names(each))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (Filters(globs=("warm/*",)), {"warm/red.png", "warm/yellow.png"}),
        (Filters(globs=("*/photos/cold/b*", "*yellow*")), {"cold/blue.png", "warm/yellow.png"}),
        (Filters(min_size=320), {"large/red.png", "large/again.jpg"}),
        (Filters(max_size=96, globs=("*red*",)), {"warm/red.png"}),
        (Filters(globs=("nowhere/*",)), set()),
    ],
)
def test_filters(searcher: Searcher, filters: Filters, wanted: set[str]) -> None:
    """Only rows that fulfil every filter appear, however few they are."""
    assert set(names(searcher.search([Text("a circle")], 50, filters, copies=True))) == wanted


def test_dates_are_those_of_the_files(place: Path, tiny: TinyModels) -> None:
    """`since` is included and `until` is not, by the modification time that the last run saw."""
    old, new = (datetime(2019, 5, day).timestamp() for day in (1, 2))
    os.utime(place / "photos/cold/blue.png", (old, old))
    os.utime(place / "photos/warm/red.png", (new, new))
    make_store(place / "store", place / "photos", tiny, [tiny.openai_clip])
    searcher = searcher_of(place, tiny)

    def between(since: datetime | None, until: datetime | None) -> set[str]:
        return set(names(searcher.search([Text("a")], 50, Filters(since=since, until=until), copies=True)))

    assert between(datetime(2019, 5, 1), datetime(2019, 5, 2)) == {"cold/blue.png"}
    assert between(datetime(2019, 5, 2), datetime(2019, 6, 1)) == {"warm/red.png"}
    assert "cold/blue.png" not in between(datetime(2019, 5, 3), None)


def test_removed_pictures_never_appear_and_new_ones_do(place: Path, tiny: TinyModels) -> None:
    """After a run, an open searcher gives what is there now: not what was deleted, but what came."""
    searcher = searcher_of(place, tiny)
    assert "cold/grey.png" in names(searcher.search([Text("a")], 50))
    (place / "photos/cold/grey.png").unlink()
    paint(place / "photos/cold/violet.png", (140, 30, 200), stripe=50)
    make_store(place / "store", place / "photos", tiny, [tiny.openai_clip])
    found = names(searcher.search([Text("a")], 50, models=[CLIP], copies=True))
    assert "cold/grey.png" not in found
    assert "cold/violet.png" in found


def test_other_weights_than_the_matrix_was_made_with_are_refused(made: Path, tiny: TinyModels) -> None:
    """A spec that leads to other weights, or to another architecture, never encodes a query."""
    wrong = replace(tiny.openai_clip, architecture="other")
    searcher = Searcher(made / "store", find=lambda _: wrong, cache=tiny.cache(made / CACHE))
    with pytest.raises(WeightsRefused, match="Expected the weights that made the matrix of tiny_openai_clip"):
        searcher.search([Text("a")], models=[CLIP])
    other = Searcher(made / "store", find=lambda _: tiny.open_clip, cache=tiny.cache(made / CACHE))
    with pytest.raises(WeightsRefused, match="sha256"):
        other.search([Text("a")], models=[CLIP])


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ([], "Got nothing"),
        ([Row(10_000)], "Expected a row from 0 to"),
        ([Text("a"), Text("a", -1.0)], "cancel each other out"),
    ],
)
def test_what_cannot_be_searched_for_is_told(searcher: Searcher, terms: Sequence[Term], words: str) -> None:
    """No terms, unknown rows and terms that leave no direction are refused in words."""
    with pytest.raises(QueryError, match=words):
        searcher.search(terms, models=[CLIP])


def test_many_threads_at_once_get_the_answers_of_one(searcher: Searcher, made: Path, tiny: TinyModels) -> None:
    """One searcher serves many threads: words, pictures and rows, each as if it were alone."""
    asked: list[list[Term]] = [
        [Text("a circle")],
        [picture(made, "cold/blue.png")],
        [Row(0)],
        [Text("b"), Row(1, -1.0)],
    ]
    alone = [searcher.search(terms, models=[CLIP]).hits for terms in asked]
    fresh = searcher_of(made, tiny)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda at: fresh.search(asked[at % 4], models=[CLIP]).hits, range(32)))
    assert together == [alone[at % 4] for at in range(32)]
