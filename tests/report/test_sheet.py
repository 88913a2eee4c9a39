"""The pictures of a report: what they show, that it is true, that they are small, and that nothing waits for them."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from pixelmill.report import links, pictures
from pixelmill.report.budget import budget
from pixelmill.report.draw import LINE
from pixelmill.report.html import as_html
from pixelmill.report.markdown import as_markdown
from pixelmill.report.model import ImageCounts, ModelReport, NewImage, Night, RunReport
from pixelmill.report.pictures import NEIGHBOURS, REFUSED, nearest, sheet_of, some_refused
from pixelmill.report.sheet import EDGE, MOST_BYTES, Figure, Neighbours, Pictures, Sheet, Shown, drawn
from pixelmill.report.text import sections
from pixelmill.report.trend import trend
from pixelmill.run.results import WorkerModel, WorkerReport
from pixelmill.search.places import fitting
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.quarantine import general
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, FailureGroup, FolderCount, ShardRows, Vectors
from tests.support.stores import provenance

IMAGES, DIM = 30, 5
STEP = EDGE + 4
GALLERY = "http://photos.example:8700/"


def colour(number: int) -> tuple[int, int, int]:
    return number * 83 % 256, number * 47 % 256, number * 131 % 256


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of pictures that are there, each of one colour, with vectors at random."""
    folder = tmp_path_factory.mktemp("sheet")
    rows, random = ShardRows(), np.random.default_rng(0)
    for number in range(IMAGES):
        name = f"{number:02}.png"
        Image.new("RGB", (300, 200), colour(number)).save(folder / name)
        sha256 = hashlib.sha256((folder / name).read_bytes()).digest()
        rows.contents.append(Content(FoundFile(str(folder), name, 10, 1, 1), sha256, 300, 200))
    made = provenance("b", dim=DIM)
    rows.vectors[made.fingerprint] = Vectors(np.arange(IMAGES), random.normal(size=(IMAGES, DIM)).astype(np.float32))
    with StoreWriter(folder / "store") as writer:
        writer.matrix(made, "float32")
        writer.ledger.scans.record(writer.ledger.scans.begin(), [content.file for content in rows.contents])
        writer.commit(rows)
    return folder / "store"


def report_of(store: Path, *new: int, **more: object) -> RunReport:
    """A run that found the rows named."""
    model = ModelReport(
        embedded=len(new), pending=0, quarantined=0, dim=DIM, device="cpu", precision="float32", decode="fast",
        images_per_second=1.0, dataset="b",
    )  # fmt: skip
    counts = ImageCounts(seen=IMAGES, new=len(new), changed=0, moved=0, duplicate=0, removed=0, quarantined=0)
    return RunReport(
        store=str(store), started="2026-11-25T02:00:00+00:00", seconds=100.0, sources={}, images=counts,
        models={"b": model},
        new_images=tuple(NewImage(row=row, path=f"{store.parent}/{row:02}.png") for row in new),
    ).model_copy(update=more)  # fmt: skip


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(figure.webp)).convert("RGB")).astype(int)


def figure_of(sheet: Sheet, title: str) -> Figure:
    return next(figure for figure in sheet.figures if figure.title == title)


def test_a_thumbnail_is_of_the_image_that_stands_below_it(store: Path) -> None:
    """In the order of the names, wherever in the store the rows are."""
    new = (3, 17, 29, 8, 11, 2, 25, 19, 5, 23)
    figure = figure_of(sheet_of(report_of(store, *new), seconds=60), "New images")
    assert [Path(one.path).name for line in figure.shown for one in line] == [f"{row:02}.png" for row in new]
    seen = pixels(figure)
    for place, row in enumerate(new):
        x, y = place % 6 * STEP, place // 6 * STEP
        middle = seen[y + 30 : y + EDGE - 5, x + 30 : x + EDGE - 5].reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - colour(row)).max() < 8, row


def test_neighbours_are_those_of_all_vectors(store: Path) -> None:
    """By brute force in float64; an image is no neighbour of its own."""
    snapshot = Store(store)
    vectors = snapshot["b"].read().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = nearest(snapshot, report_of(store, 3, 17, 29, 8))
    assert (found.model, found.among) == ("b", "")
    assert [row for row, _ in found.groups] == [3, 17, 29]
    for row, near in found.groups:
        cosines = vectors @ vectors[row]
        cosines[row] = -np.inf
        best = np.argsort(-cosines)[:NEIGHBOURS]
        assert [one.row for one in near] == best.tolist()
        assert [one.cosine for one in near] == pytest.approx(cosines[best], abs=1e-6)


def test_neighbours_are_shown_beside_their_image(store: Path) -> None:
    """The new one, then the nearest, each with its picture and its cosine."""
    report = report_of(store, 3, 17)
    groups = nearest(Store(store), report).groups
    figure = figure_of(sheet_of(report, seconds=60), "Nearest neighbours")
    seen = pixels(figure)
    assert "the nearest stored by b" in figure.note
    for number, (row, near) in enumerate(groups):
        y = number * (STEP + LINE)
        for place, other in enumerate((row, *(one.row for one in near))):
            x = place * STEP
            middle = seen[y + 20 : y + EDGE - 20, x + 20 : x + EDGE - 20].reshape(-1, 3).mean(axis=0)
            assert np.abs(middle - colour(other)).max() < 8, (row, other)
        assert [one.words for one in figure.shown[number]] == ["", *(f"{one.cosine:.3f}" for one in near)]


def test_of_a_large_matrix_the_newest_rows_are_looked_through(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night is not held up by ten million rows; that it was so is said."""
    monkeypatch.setattr(pictures, "LOOKED_THROUGH", 10 * DIM * 4)
    found = nearest(Store(store), report_of(store, 29))
    assert found.among == "the newest 10 rows"
    assert all(one.row >= IMAGES - 10 for _, near in found.groups for one in near)


@pytest.mark.parametrize("most", [MOST_BYTES, pytest.param(15_000, marks=pytest.mark.slow)])
def test_it_stays_small_whatever_it_shows(most: int) -> None:
    """Noise is what compresses worst: there are fewer pictures then, of every kind, and never more bytes."""
    random = np.random.default_rng(0)

    def noise(path: str, words: str = "") -> Shown:
        return Shown(path, random.integers(0, 256, (224, 224, 3), dtype=np.uint8), words)

    shown = Pictures(
        new=tuple(noise(f"{i}.jpg") for i in range(24)),
        refused=tuple(noise(f"{i}.jpg", "No finite vector came of it.") for i in range(REFUSED)),
        neighbours=tuple(Neighbours(noise("a.jpg"), tuple(noise("b.jpg", "0.9") for _ in range(3))) for _ in range(4)),
        model="b",
    )
    sheet = drawn(shown, most)
    assert [figure.title for figure in sheet.figures] == ["New images", "Refused", "Nearest neighbours"]
    assert most / 3 < sum(len(figure.webp) for figure in sheet.figures) <= most
    assert drawn(Pictures(new=shown.new[:1]), 100) == Sheet()


def test_photographs_are_all_shown(store: Path) -> None:
    """What nights look like needs no picture to be left out."""
    sheet = sheet_of(report_of(store, *range(24)), seconds=60)
    assert len(figure_of(sheet, "New images").shown[0]) == 24


def refused(store: Path) -> RunReport:
    groups = (
        FailureGroup("decode", "Decoding took longer than 60 s (max_seconds).", 2, 0, [f"{store.parent}/00.png", "x"]),
        FailureGroup("model", "No finite vector came of it.", 1, 1, [f"{store.parent}/01.png", "known.png"]),
        FailureGroup("read", "The file is empty.", 0, 9, ["known.png"]),
        FailureGroup(None, None, 1, 0, ["other.png"]),
    )
    return report_of(store, failures=groups)


def test_refused_images_are_shown_as_far_as_they_can_be(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """One that a model refused is a picture; one that does not decode is not tried again, and is a box with its name and
    the reason."""
    looked_at: list[str] = []
    look = pictures._picture
    monkeypatch.setattr(
        pictures, "_picture", lambda file, options: (looked_at.append(file.path), look(file, options))[1]
    )
    report = refused(store)
    figure = figure_of(sheet_of(report, seconds=60), "Refused")
    assert looked_at == ["01.png"]
    assert [(Path(one.path).name, one.words) for (one,) in figure.shown] == [
        ("00.png", "Decoding took longer than 60 s (max_seconds)."),
        ("01.png", "No finite vector came of it."),
        ("other.png", "other reasons"),
        ("x", "Decoding took longer than 60 s (max_seconds)."),
    ]
    seen = pixels(figure)
    assert np.abs(seen[10:50, 2 * EDGE + 4 + 4 + 10 :][:, :40].reshape(-1, 3).mean(axis=0) - colour(1)).max() < 8
    box = seen[2:62, 2:60].reshape(-1, 3)
    assert (box.min(axis=1) > 200).mean() > 0.8, "it is empty but for a cross"
    assert (box[:, 0] - box[:, 1]).max() > 80, "there is no cross"


def test_there_are_no_more_refused_than_have_room() -> None:
    """One of each reason comes before the second of any; those known before do not come."""
    groups = [FailureGroup("read", f"reason {i}", 3, 0, ["a", "b", "c"]) for i in range(5)]
    told = some_refused([FailureGroup("read", "old", 0, 5, ["z"]), *groups])
    assert len(told) == REFUSED
    assert [group.reason for _, group in told[:5]] == [f"reason {i}" for i in range(5)]


def test_nothing_waits_for_a_source_that_hangs(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its seconds the report goes on: no picture, and nothing raised."""
    free = threading.Event()
    look = pictures._picture

    def hang(file: FoundFile, options: object) -> np.ndarray:
        if file.path != "07.png":
            free.wait(60)
        return look(file, options)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "_picture", hang)
    began = time.monotonic()
    sheet = sheet_of(report_of(store, 7, 3, 4, 5, 6, 8), seconds=1.0)
    free.set()
    assert time.monotonic() - began < 6
    (shown,) = figure_of(sheet, "New images").shown
    assert [one.words for one in shown] == ["", *["not read in time"] * 5]
    assert shown[0].picture is not None


def test_what_is_gone_costs_its_picture(store: Path, tmp_path: Path) -> None:
    """A row of no file, a store that is not there: the report is shown, without them."""
    report = report_of(store, 1, 2)
    moved = tmp_path / "moved"
    (store.parent / "01.png").rename(moved)
    try:
        (shown,) = figure_of(sheet_of(report, seconds=60), "New images").shown
    finally:
        moved.rename(store.parent / "01.png")
    assert [one.words for one in shown] == ["No such file or directory", ""]
    assert sheet_of(report_of(tmp_path / "nowhere", 1)) == Sheet()


def test_links_lead_to_what_is_told_of() -> None:
    """A folder's link fits the files below it and no others, whatever it is called; a reason's is that which the gallery
    groups by; a name that is no text has none."""

    def query(link: str) -> dict[str, list[str]]:
        return parse_qs(urlsplit(links.at(GALLERY, link)).query)

    for folder in ("/photos/2024", "/photos/a [b]*?", "/photos/%20&+ü写"):
        (glob,) = query(links.folder(folder))["glob"]
        fits = fitting([glob])
        assert fits(b"/photos", f"{folder}/below/1.jpg".encode().removeprefix(b"/photos/"))
        assert not fits(b"/photos", f"{folder}2/1.jpg".encode().removeprefix(b"/photos/"))
    assert links.folder("/photos/caf\udce9") == ""
    reason = "Expected at most 10,000 bytes. The file has 12,345 or more."
    assert query(links.refused(reason)) == {"view": ["quarantine"], "reason": [general(reason)]}
    assert query(links.image(12)) == {"open": ["12"]}
    assert links.at(GALLERY, links.image(12)) == "http://photos.example:8700/?open=12"


def test_the_report_links_folders_failures_and_images(store: Path) -> None:
    """Where a gallery is up; where none is, nothing is a link. The table stays one for hostile names."""
    report = refused(store).model_copy(
        update={
            "folders": (FolderCount("/photos/a|b (c)", new=1), FolderCount(None, new=2)),
            "new_images": (NewImage(row=5, path="/photos/05.png"),),
            "images": report_of(store, 1).images,
        }
    )
    sheet = sheet_of(report, seconds=60)
    told = as_markdown(report, GALLERY, sheet)
    for link in (links.folder("/photos/a|b (c)"), links.refused("The file is empty."), links.image(5)):
        wanted = f"]({links.at(GALLERY, link)})" in told
        assert wanted == (link != links.refused("The file is empty.")), link
    assert "| all others | 2 |" in told
    assert not re.search(r"[^!]\[[^\]]*\]\(", as_markdown(report, None, sheet))


def test_pictures_are_inside_the_text(store: Path) -> None:
    """As Markdown and as HTML, each with words for those who do not see it."""
    report = report_of(store, 1, 2)
    sheet = sheet_of(report, seconds=60)
    for told in (as_markdown(report, GALLERY, sheet), as_html(report, sheet)):
        for figure in sheet.figures:
            assert base64.b64encode(figure.webp).decode() in told
            assert figure.alt in told
        assert "01.png" in told
    assert as_markdown(report) == as_markdown(report, None, Sheet())


def worker(**models: float) -> WorkerReport:
    made = {model: WorkerModel(device="cpu", images=1, seconds=seconds) for model, seconds in models.items()}
    return WorkerReport(
        images=1, seconds=80.0, reading_seconds=9.0, models=made, waited_reading=10.0, waited_decoding=20.0
    )


@pytest.mark.parametrize("beside", [1, 2, 3])
@pytest.mark.parametrize("embed", [90.0, 10.0])
def test_the_time_of_a_run_adds_up(store: Path, embed: float, beside: int) -> None:
    """To all of it, also where workers beside each other have waited longer than the run took."""
    steps = {"discover": 4.0, "weights": 0.01, "plan": 1.0, "embed": embed, "publish": 2.0, "report": 0.5}
    workers = {str(number): worker(a=30.0, b=10.0) for number in range(beside)}
    report = report_of(store, steps=steps | {"rest": 100.0 - sum(steps.values())}, workers=workers)
    spent = budget(report)
    assert sum(spent.values()) == pytest.approx(report.seconds)
    assert "fetching weights" not in spent, "what took nothing is no line"
    if embed == 90.0:
        assert spent["waiting for files to be read"] == pytest.approx(10.0)
        assert (spent["a at work"], spent["b at work"]) == (pytest.approx(30.0), pytest.approx(10.0))
    (table,) = [section for section in sections(report) if section.title == "Where the time went"]
    told = [float(row[1].removesuffix(" s")) for row in table.rows if isinstance(row[1], str)]
    assert sum(told[:-1]) == pytest.approx(told[-1], abs=0.05 * len(told))


def test_reports_that_know_no_steps_have_no_budget(store: Path) -> None:
    """Those of older versions are read and shown as before."""
    report = report_of(store)
    assert budget(report) == {}
    assert "Where the time went" not in [section.title for section in sections(report)]


def night(day: int, embedded: int, ended: str = "done") -> Night:
    return Night(
        started=f"2026-11-{day:02}T02:00:00+00:00", new=embedded, embedded=embedded, quarantined=1, pending=0,
        seconds=9.0, images_per_second=embedded / 9, ended=ended,
    )  # type: ignore[arg-type]  # fmt: skip


def test_the_last_nights_are_a_plot(store: Path) -> None:
    """A bar a run, as high as its share of the highest, this one last; what did not end well has a cross. The words say
    the same."""
    report = report_of(store, 1, nights=(night(24, 100), night(23, 50, "cut off"), night(22, 25)))
    figure = trend(report)
    assert figure
    assert "vectors made: 25, 50, 100, 1;" in figure.alt
    assert figure.alt.endswith("With a cross: Mon 23 Nov 02:00")
    seen = pixels(figure)
    bars = [seen[:, 4 + number * 27 + 2] for number in range(4)]
    high = [int((bar[:, 2] - bar[:, 0] > 25).sum()) for bar in bars]
    assert high[2] > 1.8 * high[1] > 1.8 * 1.5 * high[0] > high[3]
    red = [int(((part[..., 0] - part[..., 2]) > 80).sum())
           for part in (seen[:, 4 + number * 27 : 4 + number * 27 + 22] for number in range(4))]  # fmt: skip
    assert [count > 10 for count in red] == [False, True, False, False]
    assert len(figure.webp) < 6_000
    assert trend(report_of(store, 1)) is None
