"""Many pictures at once, for scripts and the page: what a filter finds, tables, labels, and what runs make of these."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from pixelmill.forgetting.chosen import Which
from pixelmill.forgetting.forget import forget
from pixelmill.heads.head import LinearHead
from pixelmill.run import steps
from pixelmill.store.commit import StoreWriter
from pixelmill.store.labels import FOLDER, LabelFile, names
from pixelmill.store.reader import Store
from pixelmill.web import labels
from pixelmill.web.app import make_app
from pixelmill.web.gallery import Limits
from pixelmill.web.thumbnails import Thumbnails
from tests.support.columns import add_columns
from tests.support.gallery import row_of, told
from tests.web.conftest import PLAIN, ClientOf, Collection

TOKEN = "a-token-of-many-letters"


@pytest.fixture(scope="module")
def prepared(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Some of the pictures, and a column of what was measured."""
    made = collection.copied(tmp_path_factory.mktemp("prepared"))
    add_columns(made.store, {"measured": ["x"] * len(Store(made.store))})
    return made


@pytest.fixture
def own(prepared: Collection, tmp_path: Path) -> Collection:
    """One whose store a test may change."""
    shutil.copytree(prepared.store, tmp_path / "own" / "store")
    return replace(prepared, store=tmp_path / "own" / "store")


@pytest.fixture
def mine(own: Collection, client_of: ClientOf) -> TestClient:
    return client_of(own)


def give(client: TestClient, value: str | None, *rows: int, name: str = "animal", **more: Any) -> httpx.Response:
    return client.post(f"/api/labels/{name}", json={"rows": rows, "value": value}, **more)


def table(client: TestClient, **asked: Any) -> list[dict[str, str]]:
    answer = client.post("/api/selection/table", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_all_that_a_filter_finds(described: Collection, client_of: ClientOf) -> None:
    """As the list has it, not only its first page."""
    client = client_of(described)
    for filters in ({}, {"glob": "sea/*"}, {"where": "rating = 1"}):
        found = told(client, "selection", **filters)
        listed = told(client, "rows", limit=200, **filters)
        assert found == {"images": listed["images"], "rows": [one["row"] for one in listed["pictures"]]}
    assert client.get("/api/selection", params={"where": "depth > 3"}).status_code == 422


def test_a_table_has_all_that_is_known(described: Collection, client_of: ClientOf) -> None:
    """Row, content, place, size, each column as exports have it, and scores; in the order asked for."""
    client, store = client_of(described), Store(described.store)
    rows = [row_of(described, name) for name in ("sea/taken.jpg", "mountains/dusk.webp", "sea/far.webp")]
    lines = table(client, rows=rows, scores=[0.9, None, 0.25])
    assert [int(line["row"]) for line in lines] == rows
    assert [line["score"] for line in lines] == ["0.9", "", "0.25"]
    for row, line in zip(rows, lines, strict=True):
        assert line["sha256"] == store.sha256(row, row + 1)[0].tobytes().hex()
        assert (line["source"], line["path"]) == store.place(row)
        assert (int(line["width"]), int(line["height"])) == (store.widths[row], store.heights[row])
        for name in store.columns:
            value = store.columns.about(name)[1].plain(store.columns.read(name, row, row + 1)[0])
            assert line[name] == ("" if value is None else str(value)), name
    assert lines[0]["taken_at"].startswith("2024-05-06T07:08")
    assert lines[2]["caption"] == "A sail,\nfar out at sea"
    assert "score" not in table(client, rows=rows)[0]


def test_a_label_is_told_at_once_and_pending(mine: TestClient, own: Collection) -> None:
    """Wherever a picture is told of; by how many; a table has it. A second one by that name takes its place."""
    assert told(mine, "labels") == {"why_not": None, "labels": [], "heads": {}, "problems": []}
    assert give(mine, "cat", 0, 1, 2).json() == {"images": 3, "value": "cat"}
    assert give(mine, " dog\t", 1).json() == {"images": 1, "value": "dog"}
    assert give(mine, None, 2).json() == {"images": 1, "value": None}
    (animal,) = told(mine, "labels")["labels"]
    assert animal == {
        "name": "animal", "images": 2, "is_column": False,
        "values": [{"value": "cat", "images": 1}, {"value": "dog", "images": 1}],
    }  # fmt: skip
    shown = {one["row"]: one["labels"] for one in told(mine, "rows")["pictures"]}
    assert shown[1] == [{"name": "animal", "value": "dog", "pending": True}]
    assert shown[2] == told(mine, "rows/2")["labels"] == []
    assert [line["animal"] for line in table(mine, rows=[0, 1, 2])] == ["cat", "dog", ""]
    own.run()
    assert told(mine, "rows/1")["labels"] == [{"name": "animal", "value": "dog", "pending": False}]
    assert told(mine, "labels")["labels"][0]["is_column"]
    assert told(mine, "rows", where="animal = 'dog'")["images"] == 1
    give(mine, "emu", 1)
    assert told(mine, "rows/1")["labels"] == [{"name": "animal", "value": "emu", "pending": True}]
    assert table(mine, rows=[1])[0]["animal"] == "emu"


def test_from_the_page_to_a_head(mine: TestClient, own: Collection) -> None:
    """Labels of a few pictures: the next run has them as a column, and a head that names it has learnt from them,
    without another line in the settings; when more are labelled it is learnt anew."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    paths = [path.decode() for path in Store(own.store).paths]
    place = [path.split("/")[0] for path in paths]
    examples = [row for name in ("sea", "mountains") for row in np.flatnonzero(np.array(place) == name)[:2].tolist()]
    for row in examples:
        give(mine, place[row], row, name="place")
    head = LinearHead(kind="linear", model=PLAIN, column="place")
    job = own.job.model_copy(update={"heads": {"place_learnt": head}})
    report = steps.run(job)
    assert (report.heads[0].problem, report.heads[0].rows) == ("", len(paths))
    assert report.models[PLAIN].embedded == 0
    store = Store(own.store)
    assert [store.columns["place"][row] for row in examples] == [place[row] for row in examples]
    assert [store.columns["place_learnt"][row] for row in examples] == [place[row] for row in examples]
    assert told(mine, "rows", where="place_learnt = 'sea'")["images"] > 0
    give(mine, "elsewhere", examples[0], name="place")
    report = steps.run(job)
    assert report.heads[0].is_anew
    assert Store(own.store).columns["place"][examples[0]] == "elsewhere"


def test_a_table_with_a_label_is_one_that_runs_join(mine: TestClient, own: Collection) -> None:
    """Where nothing can be written: what is downloaded is what `[[tables]]` takes, by sha256."""
    from pixelmill.joining.join import join_columns
    from pixelmill.joining.table import Table

    answer = mine.post("/api/selection/table", json={"rows": [0, 1], "label": ["animal", "cat"]})
    assert answer.headers["content-disposition"] == 'attachment; filename="animal.csv"'
    (own.store.parent / "animal.csv").write_bytes(answer.content)
    with StoreWriter(own.store) as writer:
        join_columns(writer, [Table(path=str(own.store.parent / "animal.csv"), key="sha256", columns=("animal",))])
    assert list(Store(own.store).columns["animal"][:3]) == ["cat", "cat", ""]


def test_of_many_people_at_once_nothing_is_lost(mine: TestClient, own: Collection) -> None:
    """Each labels other pictures by the same name."""
    rows = range(len(Store(own.store)))
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(lambda row: give(mine, f"of {row}", row).status_code, rows))
    assert set(answers) == {200}
    assert sorted(LabelFile(own.store, "animal").values().values()) == sorted(f"of {row}" for row in rows)


@pytest.mark.parametrize(
    ("name", "value", "rows", "status", "words"),
    [
        ("Animal", "cat", [0], 422, "name"),
        ("..%2Fanimal", "cat", [0], 404, "Not Found"),
        ("..%5canimal", "cat", [0], 422, "name"),
        ("animal%00", "cat", [0], 422, "name"),
        ("animal%0a", "cat", [0], 422, "name"),
        ("sha256", "cat", [0], 422, "means something else in every store"),
        ("duplicate_of", "cat", [0], 422, "means something else in every store"),
        ("measured", "cat", [0], 422, "The store has a column 'measured' already, of source 'test'"),
        ("animal", "", [0], 422, "Expected a label of 1 to 256 letters"),
        ("animal", "\x1b[2J", [0], 422, "Expected a label of 1 to 256 letters"),
        ("animal", "cat", [], 422, "rows"),
        ("animal", "cat", [10**6], 404, "Expected a row from 0 to"),
        ("animal", "cat", [-1], 422, "rows.0"),
        ("animal", "cat", ["../x"], 422, "rows.0"),
        ("animal", "cat", [0] * 100_001, 422, "rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_refused(
    name: str, value: str, rows: list[Any], status: int, words: str, mine: TestClient, own: Collection
) -> None:
    """In words, and nothing is written anywhere."""
    before = sorted(own.store.parent.rglob("*.csv"))
    answer = mine.post(f"/api/labels/{name}", json={"rows": rows, "value": value})
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert sorted(own.store.parent.rglob("*.csv")) == before == []


def test_no_other_site_gives_labels(mine: TestClient, own: Collection) -> None:
    """Not by a script, which has an origin; not by a form, which sends no JSON; not by a name that leads here."""
    assert give(mine, "cat", 0, headers={"Origin": "https://evil.example"}).status_code == 403
    form = b'{"rows": [0], "value": "cat"}'
    assert mine.post("/api/labels/animal", content=form, headers={"Content-Type": "text/plain"}).status_code == 415
    assert mine.post("/api/labels/animal", content=form).status_code == 415
    assert give(mine, "cat", 0, headers={"Host": "evil.example"}).status_code == 421
    assert mine.get("/api/labels/animal", params={"rows": 0, "value": "cat"}).status_code == 405
    assert names(own.store) == []


def test_nobody_gives_labels_without_the_token(own: Collection, client_of: ClientOf) -> None:
    """With it, as with the cookie."""
    client = client_of(own, token=TOKEN)
    assert give(client, "cat", 0).status_code == 401
    assert client.post("/api/selection/table", json={"rows": [0]}).status_code == 401
    assert names(own.store) == []
    assert give(client, "cat", 0, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_nobody_fills_the_disk_or_the_memory(own: Collection, client_of: ClientOf) -> None:
    """So many a minute from a client, bodies of so many bytes."""
    client = client_of(own, limits=Limits(labels_per_minute=2))
    body = b'{"rows": [0], "value": "' + b"a" * (5 << 20) + b'"}'
    asked = {"content": body, "headers": {"Content-Type": "application/json"}}
    assert client.post("/api/labels/animal", **asked).status_code == 413
    assert client.post("/api/selection/table", **asked).status_code == 413
    assert give(client, "cat", 0).status_code == 200
    assert give(client, "cat", 0).status_code == 429


def test_a_gallery_for_looking_only(own: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """`[web] labels = false`: it says so beforehand, and refuses; tables are given all the same."""
    gallery = client_of(own).app.state.gallery  # type: ignore[attr-defined]
    gallery._labels = False
    client = TestClient(make_app(gallery), base_url="http://localhost")
    assert "for looking only" in told(client, "labels")["why_not"]
    answer = give(client, "cat", 0)
    assert (answer.status_code, "labels = false" in answer.json()["detail"]) == (403, True)
    assert table(client, rows=[0])[0]["row"] == "0"
    assert not (own.store / FOLDER).exists()


def test_a_store_that_cannot_be_written(mine: TestClient, own: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told beforehand, and when somebody tries all the same; labels that are there are shown."""
    give(mine, "cat", 0)
    monkeypatch.setattr(labels.os, "access", lambda *_: False)
    assert "cannot be written from here" in told(mine, "labels")["why_not"]
    assert give(mine, "dog", 0).status_code == 403
    assert told(mine, "rows/0")["labels"][0]["value"] == "cat"
    (own.store / FOLDER / ".lock").unlink()
    (own.store / FOLDER / ".lock").mkdir()
    monkeypatch.undo()
    answer = give(mine, "dog", 0)
    assert (answer.status_code, "cannot be written" in answer.json()["detail"]) == (503, True)


def test_labels_that_others_wrote_are_left_alone(mine: TestClient, own: Collection) -> None:
    """A file that is none of ours breaks no page; whoever wants to write to it is told which it is."""
    give(mine, "cat", 0)
    file = own.store / FOLDER / "animal.csv"
    file.write_text("something else\n")
    assert told(mine, "rows/0")["labels"] == told(mine, "labels")["labels"] == []
    assert "animal.csv" in told(mine, "labels")["problems"][0]
    answer = give(mine, "dog", 0)
    assert (answer.status_code, "animal.csv" in answer.json()["detail"]) == (503, True)
    assert file.read_text() == "something else\n"


def test_a_row_that_was_forgotten_gets_no_label(
    mine: TestClient, own: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the number in its place, nor its content where it was forgotten while the label waited for its turn."""
    first, second = 0, 1
    waited = LabelFile.give

    def forgotten_meanwhile(file: LabelFile, value: str | None, pictures: Mapping[bytes, str]) -> int:
        monkeypatch.setattr(LabelFile, "give", waited)
        forget(own.store, Which(f"row = {second}"), thumbnails=tmp_path)
        return file.give(value, pictures)

    forget(own.store, Which(f"row = {first}"), thumbnails=tmp_path)
    assert give(mine, "cat", first).json()["images"] == 0
    monkeypatch.setattr(LabelFile, "give", forgotten_meanwhile)
    assert give(mine, "cat", first, second, 2).json()["images"] == 1
    assert LabelFile(own.store, "animal").values() == {Store(own.store).sha256(2, 3)[0].tobytes(): "cat"}


def test_a_thumbnail_that_was_being_made_of_what_is_forgotten_goes(
    mine: TestClient, own: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither shown nor kept."""
    made, folders = Thumbnails.get, list[Path]()

    def forgotten_meanwhile(cache: Thumbnails, *asked: Any) -> bytes:
        forget(own.store, Which("row = 2"), thumbnails=cache.folder)
        folders.append(cache.folder)
        return made(cache, *asked)

    monkeypatch.setattr(Thumbnails, "get", forgotten_meanwhile)
    before = Store(own.store).sha256(2, 3)[0].tobytes().hex()
    assert mine.get("/api/images/2/thumbnail").status_code == 410
    assert not list(folders[0].glob(f"??/{before[2:]}*"))
