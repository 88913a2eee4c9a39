"""What the endpoints answer is what the store holds."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pixelmill.store import ensembles
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from tests.support.gallery import row_of, stored, told
from tests.web.conftest import CLIP, PLAIN, ClientOf, Collection


def nearest(collection: Collection, model: str, query: np.ndarray) -> list[tuple[float, int]]:
    """All rows by cosine, from the file itself."""
    with h5py.File(collection.store / "vectors.h5") as file:
        vectors = file[f"vectors/{model}"][:].astype(np.float64)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return sorted(((float(c), i) for i, c in enumerate(cosines) if np.isfinite(c)), reverse=True)


def test_pages_show_every_image_once_the_newest_first(client: TestClient, collection: Collection) -> None:
    """`next` leads from page to page until all that are there were shown."""
    rows, before = [], None
    while True:
        page = told(client, "rows", limit=7, **({"before": before} if before is not None else {}))
        rows += [picture["row"] for picture in page["pictures"]]
        before = page["next"]
        if before is None:
            break
    shown = Store(collection.store).widths > 0  # all but the broken one
    assert rows == np.flatnonzero(shown)[::-1].tolist()
    assert len(shown) == len(rows) + 1
    assert page["images"] == len(rows)


def test_similar_images_are_the_nearest_by_cosine(client: TestClient, collection: Collection) -> None:
    """By row, page by page: the same rows and scores as arithmetic on the matrix gives; the image itself is left out."""
    row = row_of(collection, "sea/far.webp")
    expected = [(c, i) for c, i in nearest(collection, PLAIN, stored(collection, PLAIN, row)) if i != row]
    pages = [told(client, "search", row=str(row), model=PLAIN, k=4, offset=offset) for offset in (0, 4)]
    hits = [hit for page in pages for hit in page["hits"]]
    copies = {copy for hit in hits for copy in hit["copies"]}
    kept = [(c, i) for c, i in expected if i not in copies][:8]
    assert [hit["row"] for hit in hits] == [i for _, i in kept]
    np.testing.assert_allclose([hit["score"] for hit in hits], [c for c, _ in kept], atol=1e-5)
    assert pages[0]["model"] == PLAIN
    assert pages[0]["more"]


def test_terms_are_added_and_subtracted(client: TestClient, collection: Collection) -> None:
    """`row=3&row=-5` is what is like 3 and unlike 5."""
    a, b = row_of(collection, "sea/far.webp"), row_of(collection, "mountains/dusk.webp")
    query = stored(collection, PLAIN, a) - stored(collection, PLAIN, b)
    best = next(i for _, i in nearest(collection, PLAIN, query) if i != a)
    hits = told(client, "search", row=[str(a), f"-{b}"], model=PLAIN, k=3)["hits"]
    assert hits[0]["row"] == best
    np.testing.assert_allclose(hits[0]["score"], nearest(collection, PLAIN, query)[0][0], atol=1e-5)
    assert hits[0]["score"] < told(client, "search", row=str(a), model=PLAIN, k=3)["hits"][0]["score"]


def test_an_ensemble_that_the_store_keeps_is_searched_by_its_name(
    collection: Collection, client_of: ClientOf, tmp_path: Path
) -> None:
    """It is told with the models, and its scores are the cosines of its models side by side."""
    both = collection.copied(tmp_path)
    with StoreWriter(both.store) as writer:
        ensembles.keep(writer, "both", [CLIP, PLAIN], None)
    client = client_of(both)
    assert told(client, "store")["ensembles"] == ["both"]
    values = Store(both.store).concatenated([CLIP, PLAIN], normalize=True).read().astype(np.float64)
    cosines = values @ values[2] / np.linalg.norm(values, axis=1) / np.linalg.norm(values[2])
    hits = told(client, "search", row="2", model="both", k=3)["hits"]
    np.testing.assert_allclose([hit["score"] for hit in hits], [cosines[hit["row"]] for hit in hits], atol=1e-5)
    assert hits[0]["score"] == pytest.approx(np.sort(cosines)[-2], abs=1e-5)


def test_words_are_searched_with_a_model_that_knows_some(client: TestClient, collection: Collection) -> None:
    """Without a model named, the CLIP is taken; the other one says what it lacks and which one has it."""
    found = told(client, "search", text=["a boat", "-people"])
    assert found["model"] == CLIP
    assert len(found["hits"]) == told(client, "rows")["images"] - sum(len(hit["copies"]) for hit in found["hits"])
    refused = client.get("/api/search", params={"text": "a boat", "model": PLAIN})
    assert refused.status_code == 422
    assert CLIP in refused.json()["detail"]


def test_terms_have_weights(client: TestClient, collection: Collection) -> None:
    """`row=3&row=-0.5:5` is the sum of the unit vectors by these weights; what is no row is refused in words."""
    hit = told(client, "search", row=["3", "-0.5:5"], model=PLAIN, k=1)["hits"][0]
    query = stored(collection, PLAIN, 3) - 0.5 * stored(collection, PLAIN, 5)
    expected = stored(collection, PLAIN, hit["row"]) @ query / np.linalg.norm(query)
    assert hit["score"] == pytest.approx(expected, abs=1e-4)
    for wrong in ("many", "0:3", "2:"):
        refused = client.get("/api/search", params={"row": wrong})
        assert refused.status_code == 422
        assert "Expected a" in refused.json()["detail"]


def test_an_uploaded_picture_finds_itself(client: TestClient, collection: Collection) -> None:
    """Its bytes go through the same decoding and model as the store's: cosine 1 with its own row."""
    file = collection.photos / "sea" / "far.webp"
    uploaded = client.post("/api/uploads", content=file.read_bytes())
    assert uploaded.status_code == 201
    name = uploaded.json()["image"]
    hit = told(client, "search", image=name, model=PLAIN, k=1)["hits"][0]
    assert hit["row"] == row_of(collection, "sea/far.webp")
    assert hit["score"] == pytest.approx(1, abs=1e-4)
    shown = client.get(uploaded.json()["thumbnail"])
    assert Image.open(io.BytesIO(shown.content)).format == "WEBP"
    assert client.get("/api/search", params={"image": "0" * 32}).status_code == 404


def test_filters_narrow_pages_and_searches(client: TestClient, collection: Collection) -> None:
    """By path and by size, in both; a day that has not come yet leaves nothing."""
    every = told(client, "rows", glob="mountains/*", limit=200)["pictures"]
    assert {picture["path"].split("/")[0] for picture in every} == {"mountains"}
    found = told(client, "search", row="1", model=PLAIN, glob="mountains/*")["hits"]
    assert {hit["row"] for hit in found} <= {picture["row"] for picture in every}
    large = told(client, "rows", min_size=240, limit=200)["pictures"]
    assert large
    assert all(min(picture["width"], picture["height"]) >= 240 for picture in large)
    assert told(client, "rows", since="2190-01-01")["images"] == 0
    assert client.get("/api/rows", params={"since": "soon"}).status_code == 422


def test_a_row_is_described(client: TestClient, collection: Collection) -> None:
    """Where it is, what it is, that it is still there, and which models have it."""
    row = row_of(collection, "sea/far.webp")
    file = collection.photos / "sea" / "far.webp"
    known = told(client, f"rows/{row}")
    assert (known["state"], known["bytes"], known["name"]) == ("there", file.stat().st_size, "far.webp")
    assert (known["path"], known["source"]) == ("sea/far.webp", str(collection.photos))
    assert known["sha256"] == Store(collection.store).sha256()[row].tobytes().hex()
    assert {model["name"]: model["embedded"] for model in known["models"]} == {CLIP: True, PLAIN: True}


def test_an_original_is_the_file_with_its_own_type(client: TestClient, collection: Collection) -> None:
    """Byte for byte; whoever has it already is told so by its ETag."""
    for name, kind in (("sea/far.webp", "image/webp"), ("mountains/twin.jpg", "image/jpeg")):
        answer = client.get(f"/api/images/{row_of(collection, name)}")
        assert answer.content == (collection.photos / name).read_bytes()
        assert answer.headers["content-type"] == kind
        again = client.get(answer.url.path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_file_that_changed_is_not_shown_as_the_row(
    collection: Collection, client_of: ClientOf, tmp_path: Path
) -> None:
    """One that holds something else by now, and one that is gone, are told as that; neither is served."""
    changing = collection.copied(tmp_path)
    client = client_of(changing)
    changed, gone = row_of(changing, "sea/far.webp"), row_of(changing, "mountains/twin.jpg")
    Image.new("RGB", (30, 30), "red").save(changing.photos / "sea" / "far.webp")
    (changing.photos / "mountains" / "twin.jpg").unlink()
    for row, words in ((changed, "has changed since"), (gone, "cannot be read")):
        for path in (f"/api/images/{row}", f"/api/images/{row}/thumbnail"):
            answer = client.get(path)
            assert answer.status_code == 410
            assert words in answer.json()["detail"]
    assert told(client, f"rows/{changed}")["state"] == "changed"
    assert told(client, f"rows/{gone}")["state"] == "gone"


def test_new_snapshots_show_without_a_restart(collection: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """What a run adds and removes shows at once, in pages and in searches."""
    growing = collection.copied(tmp_path)
    client = client_of(growing)
    before = told(client, "rows")["images"]
    Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 50).save(growing.photos / "new.png")
    (growing.photos / "mountains" / "twin.jpg").unlink()
    removed = row_of(growing, "mountains/twin.jpg")
    growing.run()
    page = told(client, "rows")
    assert (page["images"], page["pictures"][0]["name"]) == (before, "new.png")
    found = told(client, "search", row="1", model=PLAIN, k=200)["hits"]
    assert page["pictures"][0]["row"] in {hit["row"] for hit in found}
    assert removed not in {hit["row"] for hit in found}
    assert told(client, f"rows/{removed}")["state"] == "gone"


def test_nothing_is_written_into_the_store(collection: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """After every kind of question its files are what they were, to the byte and the nanosecond."""
    asked = collection.copied(tmp_path)
    before = state_of(asked.store)
    client = client_of(asked)
    for path in ("store", "rows", "rows/3", "images/3", "images/3/thumbnail", "search?row=3", "quarantine", "map"):
        assert client.get(f"/api/{path}").status_code == 200
    for path in ("duplicates", "reports"):
        assert client.get(f"/api/{path}").status_code == 200
    assert state_of(asked.store) == before


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_coverage_counts_each_image_once(client: TestClient, collection: Collection) -> None:
    """Embedded, quarantined and pending add up to the images that are there; by folder as well."""
    known = told(client, "store")
    assert known["images"] == told(client, "rows")["images"] + 1
    for model in known["models"]:
        assert model["embedded"] + model["quarantined"] + model["pending"] == known["images"]
        assert model["coverage"] == model["embedded"] / known["images"]
        assert known["sources"][0]["embedded"][model["name"]] == model["embedded"]
    assert {model["name"]: model["text"] for model in known["models"]} == {CLIP: True, PLAIN: False}
    assert sum(model["default"] for model in known["models"]) == 1
    assert known["quarantined"] == 1


def test_the_quarantine_tells_why(client: TestClient, collection: Collection) -> None:
    """Each file with stage, reason and date; reasons are counted and can be asked for."""
    found = told(client, "quarantine")
    (entry,) = found["entries"]
    assert (entry["name"], entry["stage"]) == ("broken.jpg", "decode")
    assert "HTML" in entry["reason"]
    (reason,) = found["reasons"]
    assert reason["images"] == found["images"] == 1
    assert told(client, "quarantine", reason=reason["reason"])["entries"] == [entry]
    assert told(client, "quarantine", reason="another")["entries"] == []
    assert told(client, "quarantine", offset=1) | {"entries": []} == found | {"entries": []}


def test_the_reports_of_the_last_runs_are_told(collection: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """Newest first, in the words and tables of `pixelmill report`."""
    twice = collection.copied(tmp_path)
    twice.run()
    reports = told(client_of(twice), "reports")["reports"]
    assert [("Nothing new" in report["headline"]) for report in reports] == [True, False]
    titles = [section["title"] for section in reports[0]["sections"]]
    assert {"Models", "Last runs"} <= set(titles)
    assert reports[1]["report"]["images"]["new"] == 9
    assert told(client_of(twice), "reports", limit=1)["reports"] == reports[:1]


def test_a_picture_that_was_saved_again_is_a_near_duplicate(client: TestClient, collection: Collection) -> None:
    """The twin is in a group with the picture that it was made from, and with its similarity."""
    groups = told(client, "duplicates", model=PLAIN, threshold=0.999)["groups"]
    names = [{picture["name"] for picture in group["pictures"]} for group in groups]
    assert any({"dusk.webp", "twin.jpg"} <= group for group in names)


def test_the_map_has_a_point_for_each_image(client: TestClient, collection: Collection) -> None:
    """Within the unit square; unless something else is asked for, coloured by folder."""
    found = told(client, "map", model=CLIP)
    assert len(found["rows"]) == len(found["x"]) == len(found["y"]) == told(client, "rows")["images"]
    assert max(*found["x"], *found["y"]) == 1
    assert min(found["x"]) == min(found["y"]) == 0
    row = found["rows"].index(row_of(collection, "sea/far.webp"))
    assert found["values"][found["codes"][row]]["value"] == "sea"


@pytest.mark.parametrize("path", ["map", "duplicates", "search?row=1"])
def test_an_unknown_model_is_told_with_the_nearest(client: TestClient, path: str) -> None:
    """In the words of the library, as a problem."""
    answer = client.get(
        f"/api/{path}", params={**dict(part.split("=") for part in path.split("?")[1:]), "model": "tiny_resnet81"}
    )
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert f"Did you mean '{PLAIN}'" in answer.json()["detail"]


def test_dates_are_when_pictures_were_taken(described: Collection, client_of: ClientOf) -> None:
    """By the camera's own clock, in lists and in searches, which say so; of others it is that of the file."""
    client = client_of(described)
    day = {"since": "2024-05-06", "until": "2024-05-06"}
    assert [picture["path"] for picture in told(client, "rows", **day)["pictures"]] == ["sea/taken.jpg"]
    found = told(client, "search", row=str(row_of(described, "sea/far.webp")), **day)
    assert [hit["path"] for hit in found["hits"]] == ["sea/taken.jpg"]
    assert any(note.startswith("Dates are when pictures were taken") for note in found["notes"])
    assert "sea/taken.jpg" not in {p["path"] for p in told(client, "rows", since="2024-05-07", limit=200)["pictures"]}
