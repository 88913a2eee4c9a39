"""A least score leaves out what has less, and what is left is counted: in the library, the endpoint, the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from pixelmill.cli.main import cli
from pixelmill.errors import QueryError
from pixelmill.search.query import Row
from tests.support.gallery import row_of, stored, told
from tests.web.conftest import PLAIN, Collection


@pytest.fixture(scope="module")
def cosines(collection: Collection) -> list[float]:
    """Of all other pictures to one, the greatest first, by arithmetic."""
    searcher = collection.searcher()
    row = row_of(collection, "sea/far.webp")
    others = [i for i in searcher.store[PLAIN].rows.tolist() if i != row]
    query = stored(collection, PLAIN, row)
    return sorted((float(stored(collection, PLAIN, other) @ query) for other in others), reverse=True)


def test_no_hit_scores_less(client: TestClient, collection: Collection, cosines: list[float]) -> None:
    """Those that are left are the first of a search without it; `reach` counts them as arithmetic does."""
    about = {"row": str(row_of(collection, "sea/far.webp")), "model": PLAIN, "k": 200}
    everything = told(client, "search", **about)
    assert (everything["reach"], everything["best"]) == (None, pytest.approx(cosines[0], abs=1e-5))
    least = (cosines[4] + cosines[5]) / 2
    some = told(client, "search", **about, min_score=least)
    assert some["hits"] == [hit for hit in everything["hits"] if hit["score"] >= least]
    assert some["reach"] == 5
    assert not some["more"]
    none = told(client, "search", **about, min_score=1)
    assert (none["hits"], none["reach"], none["best"]) == ([], 0, everything["best"])


@pytest.mark.parametrize("least", [1.5, -1.01, float("nan")])
def test_what_is_no_cosine_is_refused(collection: Collection, least: float) -> None:
    """With what was expected."""
    with pytest.raises(QueryError, match="from -1 to 1"):
        collection.searcher().search([Row(0)], models=[PLAIN], min_score=least)


def test_the_command_leaves_out_what_scores_less(collection: Collection, cosines: list[float]) -> None:
    """And says what the nearest has where nothing is left."""
    row = row_of(collection, "sea/far.webp")
    asked = ["search", str(collection.store), "--row", str(row), "--model", PLAIN, "--copies", "--json", "-k", "100"]
    found = CliRunner().invoke(cli, [*asked, "--min-score", str((cosines[4] + cosines[5]) / 2)])
    scores = [hit["score"] for hit in json.loads(found.stdout)["results"]]
    np.testing.assert_allclose(scores, cosines[:5], atol=1e-5)
    nothing = CliRunner().invoke(cli, [*asked, "--min-score", "1"])
    assert json.loads(nothing.stdout)["results"] == []
    assert f"the nearest has {cosines[0]:.4f}" in nothing.stderr
    assert nothing.exit_code == 0
