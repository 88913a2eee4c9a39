"""What a map is coloured by is what the store says of each picture, and each condition finds what was counted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pixelmill.search.where import rows_where
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, ShardRows
from pixelmill.web.colours import FOLDER, NONE, OTHERS, Scale, Values, choices, coloured
from pixelmill.web.snapshot import Snapshot
from tests.support.columns import TIME, clock, store_with
from tests.support.gallery import told
from tests.support.stores import file_of, provenance, sha256, shard_rows
from tests.web.conftest import PLAIN, ClientOf, Collection


@pytest.fixture
def client(clustered: Collection, client_of: ClientOf) -> TestClient:
    return client_of(clustered)


def values_of(found: Any) -> list[object]:
    """The value of each image of a map; None where it is not known."""
    return [found["values"][code]["value"] if code >= 0 else None for code in found["codes"]]


@pytest.mark.parametrize("by", ["label", "rating", "format", "cluster", "folder"])
def test_each_image_has_the_colour_of_its_value(client: TestClient, clustered: Collection, by: str) -> None:
    """The values are the column's, counted; as many images fulfil the condition of each; so with what is not known."""
    store = Store(clustered.store)
    found = told(client, "map", model=PLAIN, by=by)
    paths = [os.fsdecode(path) for path in store.paths]
    known = [path.split("/")[0] for path in paths] if by == "folder" else store.columns[by].tolist()
    assert values_of(found) == [known[row] or None for row in found["rows"]]
    assert {one["value"]: one["images"] for one in found["values"]} == Counter(value for value in known if value)
    assert found["unknown"]["images"] == sum(not value for value in known)
    for one in [*found["values"], *([found["unknown"]] if found["unknown"]["images"] else [])]:
        assert told(client, "rows", where=one["where"])["images"] == one["images"]
    assert (found["scale"], found["others"]) == (None, 0)


def test_numbers_and_times_are_scales(client: TestClient, clustered: Collection) -> None:
    """From the least to the greatest; of pictures that do not say when they were taken, nothing."""
    store = Store(clustered.store)
    scale = told(client, "map", by="sharpness")["scale"]
    np.testing.assert_allclose(scale["values"], store.columns["sharpness"], rtol=1e-5)
    assert (scale["kind"], scale["unit"].split(",")[0]) == ("number", "grey levels squared")
    assert scale["least"] == pytest.approx(store.columns["sharpness"].min())
    assert scale["least"] <= scale["low"] < scale["high"] <= scale["greatest"]
    found = told(client, "map", by="taken_at")
    times = store.columns["taken_at"]
    assert found["scale"]["values"] == [None if time == MISSING_INT else time for time in times.tolist()]
    assert found["unknown"]["images"] == (times == MISSING_INT).sum() > 0
    assert found["scale"]["kind"] == "time"
    asked = told(client, "rows", where=found["unknown"]["where"])
    assert asked["images"] == found["unknown"]["images"]


def test_what_can_be_chosen_is_told(client: TestClient) -> None:
    """Captions, of which each picture has its own, are not among it; another name is told with what there is."""
    offered = {one["name"]: one["is_scale"] for one in told(client, "map")["choices"]}
    assert list(offered)[:2] == ["folder", "cluster"]
    assert not offered["label"]
    assert offered["brightness"]
    assert "caption" not in offered
    answer = client.get("/api/map", params={"by": "lable"})
    assert answer.status_code == 422
    assert "Did you mean 'label'?" in answer.json()["detail"]


def test_odd_values_do_not_make_all_others_one_colour(tmp_path: Path) -> None:
    """A scale runs between percentiles; infinities are not known; beyond 200 values, others are one."""
    number = 1000
    texts = [f"{i % 250:03}" if i < 900 else None for i in range(number)]
    wide = [float(i) for i in range(number - 2)]
    store = store_with(tmp_path / "store", {
        "wide": [1e12, *wide, None], "odd": [float("inf"), *wide, float("-inf")], "text": texts,
        "when": [clock("2024-02-29T12:00:00") + i for i in range(number)],
    }, {"when": TIME})  # fmt: skip
    snapshot, rows = Snapshot(Store(store)), np.arange(0, number, 2)
    scale = coloured(snapshot, "wide", rows)
    assert isinstance(scale, Scale)
    assert scale.high < 1000
    assert np.isnan(coloured(snapshot, "odd", np.array([0, 999])).values).all()  # type: ignore[union-attr]
    found = coloured(snapshot, "text", np.arange(number))
    assert isinstance(found, Values)
    assert len(found.told) == 200
    assert (found.codes == OTHERS).sum() == sum(images for _, images, _ in found.told[-50:])
    assert (found.codes == NONE).sum() == 100
    counts = [images for _, images, _ in found.told]
    assert counts == sorted(counts, reverse=True)
    assert choices(snapshot)["when"]


def test_folders_are_those_that_tell_pictures_apart(tmp_path: Path) -> None:
    """Below what all have in common; what lies beside folders is told apart from what lies in them, also in SQL."""
    paths = ["a/b/x.jpg", "a/b/c/y.jpg", "a/b's_%/z.jpg", "a/w.jpg", "v.jpg", "a/b's_%/q/r.jpg", "a/b/k.jpg"]
    files = [file_of(number, path) for number, path in enumerate(paths)]
    with StoreWriter(tmp_path / "store") as writer:
        writer.ledger.scans.record(writer.ledger.scans.begin(), files)
        contents = [Content(file, sha256(number), 8, 8) for number, file in enumerate(files)]
        writer.commit(ShardRows(contents, shard_rows(range(7), [writer.matrix(provenance("a"), "float32")]).vectors))
    store = Store(tmp_path / "store")
    for rows, expected in ((range(7), {"a": [0, 1, 2, 3, 5, 6], ".": [4]}), (
        [0, 1, 2, 3, 5, 6], {"a/b": [0, 1, 6], "a/b's_%": [2, 5], "a": [3]},
    )):  # fmt: skip
        found = coloured(Snapshot(store), FOLDER, np.array(rows))
        assert isinstance(found, Values)
        assert {name: np.array(rows)[found.codes == code].tolist() for code, (name, _, _) in enumerate(found.told)} == expected  # fmt: skip
        for name, images, where in found.told:
            assert images == len(expected[str(name)])
            assert np.flatnonzero(rows_where(store, where)).tolist() == expected[str(name)]
