"""Copies in the gallery: every place of a content is found, told, counted and good enough to show it."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pixelmill.run import steps
from pixelmill.store.schema import LEDGER
from tests.support.gallery import row_of, stored, told
from tests.web.conftest import PLAIN, ClientOf, Collection

FAR, COPY, LATER = "sea/far.webp", "album/may.webp", datetime(2019, 5, 9, 12)


@pytest.fixture(scope="module")
def copied(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A collection with one picture in two folders, the copy of another day; and one halved, saved anew, and larger in
    bytes. Not to be written to."""
    folder = tmp_path_factory.mktemp("copied")
    (folder / "photos" / COPY).parent.mkdir(parents=True)
    shutil.copyfile(collection.photos / FAR, folder / "photos" / COPY)
    made = collection.copied(folder)
    when = LATER.timestamp()
    os.utime(made.photos / COPY, (when, when))
    picture = Image.open(made.photos / FAR).convert("RGB")
    small = picture.resize((picture.width // 2, picture.height // 2))
    small.save(made.photos / "small.png")
    for name, quality, day in (("heavy", 99, 3), ("young", 90, 2), ("older", 90, 1)):
        picture.save(made.photos / f"{name}.jpg", quality=quality, comment=name.encode())
        when = datetime(2020, 1, day).timestamp()
        os.utime(made.photos / f"{name}.jpg", (when, when))
    made.run()
    return made


@pytest.fixture
def client(copied: Collection, client_of: ClientOf) -> TestClient:
    return client_of(copied)


def shown(client: TestClient, **filters: Any) -> list[str]:
    return [picture["path"] for picture in told(client, "rows", **filters)["pictures"]]


@pytest.mark.parametrize("glob", ["album/*", f"*/{COPY}", FAR])
def test_a_copy_is_found_by_its_own_path_and_told_with_all(client: TestClient, glob: str) -> None:
    """In pages and in searches, as the file that fits; with the others."""
    first = FAR if glob == FAR else COPY
    row = next(p["row"] for p in told(client, "rows")["pictures"] if p["path"].startswith("mountains"))
    for pictures in (
        told(client, "rows", glob=glob)["pictures"],
        told(client, "search", row=row, model=PLAIN, glob=glob)["hits"],
    ):
        (picture,) = pictures
        assert picture["path"] == first
        assert picture["name"] == Path(first).name
        assert [place["path"] for place in picture["places"]] == [first, COPY if first == FAR else FAR]


def test_days_mean_what_they_mean_on_the_command_line(client: TestClient) -> None:
    """`until` is to the end of a day, and a moment is one here as well."""
    day = LATER.date().isoformat()
    assert shown(client, glob="album/*", until=day, since=day) == [COPY]
    assert (
        shown(client, glob="album/*", until="2019-05-08") == shown(client, glob="album/*", until=f"{day}T12:00") == []
    )
    assert shown(client, glob="album/*", until=f"{day}T12:01") == [COPY]
    answer = client.get("/api/rows", params={"until": "yesterday"})
    assert answer.status_code == 422
    assert "Expected a day such as" in answer.json()["detail"]


def test_a_date_follows_the_ledger(copied: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """A file that is older by the next run is not where it was, though that run publishes no snapshot."""
    dated = copied.copied(tmp_path)
    client = client_of(dated)
    assert FAR in shown(client, since="2021-01-01")
    os.utime(dated.photos / FAR, (10**9, 10**9))
    dated.run()
    assert FAR not in shown(client, since="2021-01-01")
    assert shown(client, until="2001-12-31") == [FAR]


def test_one_copy_is_enough_to_show_a_picture(copied: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """While the file that the store names is gone or holds something else, another one of the content stands in."""
    folder = tmp_path / "photos/album"
    folder.mkdir(parents=True)
    shutil.copyfile(copied.photos / FAR, folder / "may.webp")
    losing = copied.copied(tmp_path)
    client, content = client_of(losing), (losing.photos / FAR).read_bytes()
    row = told(client, "rows", glob=FAR)["pictures"][0]["row"]
    named = losing.photos / told(client, f"rows/{row}")["path"]
    for change in (lambda: named.write_bytes(b""), lambda: named.write_text("else"), named.unlink):
        change()
        assert client.get(f"/api/images/{row}").content == content
        assert client.get(f"/api/images/{row}/thumbnail", params={"size": "160"}).status_code == 200
        assert told(client, f"rows/{row}")["state"] == "there"
    for path in (losing.photos / FAR, losing.photos / COPY):
        path.unlink(missing_ok=True)
    assert client.get(f"/api/images/{row}").status_code == 410
    assert told(client, f"rows/{row}")["state"] == "gone"


def test_a_content_counts_in_each_source_that_holds_it(
    collection: Collection, client_of: ClientOf, tmp_path: Path
) -> None:
    """What a folder is told to hold does not depend on what lies elsewhere, nor on which path the store names."""
    both = collection.copied(tmp_path)
    before = {source["source"]: source["images"] for source in told(client_of(both), "store")["sources"]}
    (tmp_path / "second").mkdir()
    for name in (FAR, "sea/evening.jpg"):
        shutil.copyfile(both.photos / name, tmp_path / "second" / Path(name).name)
    steps.run(both.job.model_copy(update={"sources": (str(tmp_path / "second"),)}))
    known = told(client_of(both), "store")
    sources = {source["source"]: source for source in known["sources"]}
    assert {name: sources[name]["images"] for name in before} == before
    assert sources[str(tmp_path / "second")]["images"] == 2
    assert sources[str(tmp_path / "second")]["embedded"][PLAIN] == 2
    assert known["images"] == sum(before.values())


def test_a_store_without_a_ledger_shows_the_one_path(copied: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """Everything else is as before."""
    bare = copied.copied(tmp_path)
    for file in bare.store.glob(f"{LEDGER}*"):
        file.unlink()
    client = client_of(bare)
    (picture,) = told(client, "rows", glob=FAR)["pictures"]
    assert [place["path"] for place in picture["places"]] == [FAR]
    assert told(client, "duplicates", model=PLAIN)["groups"]
    assert told(client, "store")["sources"][0]["images"] == told(client, "rows")["images"]


def test_the_one_to_keep_has_most_pixels_then_most_bytes_then_age(client: TestClient, copied: Collection) -> None:
    """As the files themselves say; each member is told with its bytes and its cosine to the one to keep."""
    groups = told(client, "duplicates", model=PLAIN, threshold=0.9)["groups"]
    (group,) = [g for g in groups if any(p["path"] == "heavy.jpg" for p in g["pictures"])]
    order = [picture["path"] for picture in group["pictures"]]
    assert order == sorted(order, key=lambda name: merit(copied.photos / name))
    assert {"heavy.jpg", "young.jpg", "older.jpg"} <= set(order)
    assert order.index("older.jpg") + 1 == order.index("young.jpg"), "of as many pixels and bytes"
    assert group["keep"] == group["pictures"][0]["row"]
    vectors = [stored(copied, PLAIN, row_of(copied, name)) for name in order]
    for picture, vector in zip(group["pictures"], vectors, strict=True):
        assert picture["similarity"] == pytest.approx(vector @ vectors[0], abs=1e-4)
        assert picture["bytes"] == (copied.photos / picture["path"]).stat().st_size


def merit(file: Path) -> tuple[int, int, int]:
    width, height = Image.open(file).size
    return -width * height, -file.stat().st_size, file.stat().st_mtime_ns


@pytest.mark.parametrize("threshold", [0.85, 0.9, 0.97, 0.99, 1.0])
def test_every_two_of_a_group_are_as_alike_as_the_slider_says(
    client: TestClient, copied: Collection, threshold: float
) -> None:
    """By the stored vectors themselves."""
    groups = told(client, "duplicates", model=PLAIN, threshold=threshold, limit=100)["groups"]
    assert groups or threshold == 1
    for group in groups:
        vectors = np.array([stored(copied, PLAIN, picture["row"]) for picture in group["pictures"]])
        assert (vectors @ vectors.T).min() >= threshold - 2e-6
        assert min(picture["similarity"] for picture in group["pictures"]) >= threshold
