"""Clusters are told as the column `cluster` has them, with the pictures that lie in their middle."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pixelmill.curation.clusters import find_clusters
from pixelmill.curation.publishing import publish
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.web.clusters import clusters_of, middle
from tests.support.columns import store_with
from tests.support.gallery import stored, told
from tests.web.conftest import PLAIN, ClientOf, Collection


@pytest.fixture
def client(clustered: Collection, client_of: ClientOf) -> TestClient:
    return client_of(clustered)


def test_each_cluster_has_as_many_pictures_as_the_column_says(client: TestClient, clustered: Collection) -> None:
    """The largest first; its condition finds them; it is called by the one in its middle, which stands first."""
    answer = told(client, "clusters")
    paths = [os.fsdecode(path) for path in Store(clustered.store).paths]
    expected = Counter(Store(clustered.store).columns["cluster"])
    assert answer["model"] == PLAIN
    assert {one["name"]: one["images"] for one in answer["clusters"]} == expected
    sizes = [one["images"] for one in answer["clusters"]]
    assert sizes == sorted(sizes, reverse=True)
    assert (answer["clusters_in_all"], answer["images_in_all"], answer["without"]) == (3, len(paths), 0)
    for one in answer["clusters"]:
        assert paths[one["row"]] == one["name"] == one["pictures"][0]["path"]
        assert told(client, "rows", where=one["where"])["images"] == one["images"]


def test_those_most_like_the_middle_follow_it(client: TestClient, clustered: Collection) -> None:
    """By the cosine to it, as arithmetic on the matrix has it."""
    names = Store(clustered.store).columns["cluster"]
    for one in told(client, "clusters")["clusters"]:
        centre = stored(clustered, PLAIN, one["row"])
        rows = [row for row, name in enumerate(names) if name == one["name"] and row != one["row"]]
        cosines = {row: float(stored(clustered, PLAIN, row) @ centre) for row in rows}
        expected = sorted(cosines, key=lambda row: -cosines[row])[:7]
        assert [picture["row"] for picture in one["pictures"]] == [one["row"], *expected]
        told_of = [picture["similarity"] for picture in one["pictures"]]
        np.testing.assert_allclose(told_of, [1, *(cosines[row] for row in expected)], atol=1e-4)


def test_they_come_in_pages(client: TestClient) -> None:
    """Each page goes on where the last one ended."""
    pages = [told(client, "clusters", offset=offset, limit=2) for offset in (0, 2)]
    assert [page["more"] for page in pages] == [True, False]
    names = [one["name"] for page in pages for one in page["clusters"]]
    assert names == [one["name"] for one in told(client, "clusters")["clusters"]]


def test_a_store_without_clusters_says_so(described: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """Another's column of that name is none."""
    assert told(client_of(described), "clusters")["model"] is None
    store = Store(store_with(tmp_path / "store", {"cluster": ["a", "b", "a"]}))
    assert clusters_of(store, np.arange(3)) is None


def test_pictures_in_no_cluster_are_counted(tmp_path: Path) -> None:
    """Those that came after the clusters; without the model, any pictures of a cluster stand for it."""
    folder = store_with(tmp_path / "store", {"label": ["x"] * 9})
    with StoreWriter(folder) as writer:
        made = find_clusters(writer, number=2).made
    found = clusters_of(Store(folder), np.arange(9))
    assert found is not None
    some = np.concatenate(found.rows)
    assert (found.without, sorted(some.tolist())) == (0, list(range(9)))
    assert middle(Store(folder), "gone", found.medoids[0], found.rows[0], 2)[0] == (found.medoids[0], None)
    values = Store(folder).columns.read("cluster").copy()
    since = [row for row in range(1, 9) if row not in made.medoids][-2:]
    values[since] = b""
    with StoreWriter(folder) as writer:
        publish(writer, made.group, values)
    later = clusters_of(Store(folder), np.arange(1, 9))
    assert later is not None
    assert later.without == 2
    assert sorted(np.concatenate(later.rows).tolist()) == [row for row in range(1, 9) if row not in since]
