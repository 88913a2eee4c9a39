"""A content in several files is found, filtered and shown by each of them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import Image

from pixelmill.errors import QueryError
from pixelmill.search.filters import Filters
from pixelmill.search.moments import EARLIEST_NS, LATEST_NS, beginning_ns, end_ns, moment
from pixelmill.search.query import Row
from pixelmill.search.searcher import Found, Searcher
from pixelmill.search.sheet import write_sheet
from pixelmill.store.reader import Store
from pixelmill.store.schema import LEDGER
from tests.search.conftest import searcher_of
from tests.support.checkpoints import TinyModels
from tests.support.commands import code
from tests.support.searchable import make_store, paint, prepared

BLUE, COPY = "cold/blue.png", "album/2024/sea.png"


@pytest.fixture(scope="module")
def copied(made: Path, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one model over pictures of which one lies in two folders. Its copy came with a second run, which
    published nothing. Not to be written to."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(made / "photos", folder / "photos")
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    (folder / "photos" / COPY).parent.mkdir(parents=True)
    shutil.copyfile(folder / "photos" / BLUE, folder / "photos" / COPY)
    for name, day in ((BLUE, 1), (COPY, 9)):
        when = datetime(2019, 5, day, 12).timestamp()
        os.utime(folder / "photos" / name, (when, when))
    revision = Store(folder / "store").manifest.revision
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    assert Store(folder / "store").manifest.revision == revision
    return folder


def found(searcher: Searcher, *globs: str, **filters: object) -> Found:
    """What is like another picture, of those that pass."""
    other = [os.fsdecode(path) for path in searcher.store.paths].index("warm/red.png")
    return searcher.search([Row(other)], 50, Filters(globs=globs, **filters), copies=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("glob", ["album/*", f"*/photos/{COPY}", BLUE, "*/blue.png"])
def test_a_copy_is_found_by_its_own_path(copied: Path, tiny: TinyModels, glob: str) -> None:
    """By each of its paths, and told by the one that fits, with all of them."""
    (hit,) = found(searcher_of(copied, tiny), glob).hits
    fits = COPY if "album" in glob else BLUE
    assert hit.path == fits
    assert [place.path for place in hit.places] == [fits, BLUE if fits == COPY else COPY]
    assert hit.absolute == str(copied / "photos" / fits)


def test_an_open_searcher_sees_copies_that_come_without_a_new_snapshot(
    copied: Path, tiny: TinyModels, tmp_path: Path
) -> None:
    """It remembers which rows pass; a run that finds a copy, and one that finds it gone, change that."""
    folder = Path(shutil.copytree(copied, tmp_path / "own"))
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    searcher = searcher_of(folder, tiny)
    assert not found(searcher, "later/*").hits
    (folder / "photos/later").mkdir()
    shutil.copyfile(folder / "photos" / BLUE, folder / "photos/later/again.png")
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    assert [hit.path for hit in found(searcher, "later/*").hits] == ["later/again.png"]
    (folder / "photos/later/again.png").unlink()
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    assert not found(searcher, "later/*").hits


def test_without_a_ledger_the_one_path_is_known_and_that_is_told(
    copied: Path, tiny: TinyModels, tmp_path: Path
) -> None:
    """The store is read as before; a filter by path says what it could not look at."""
    folder = Path(shutil.copytree(copied, tmp_path / "own"))
    for file in (folder / "store").glob(f"{LEDGER}*"):
        file.unlink()
    searcher = searcher_of(folder, tiny)
    by_path = found(searcher, "*blue.png")
    assert [place.path for place in by_path.hits[0].places] == [BLUE]
    assert "no ledger" in by_path.notes[-1]
    assert not found(searcher, "album/*").hits
    assert not found(searcher).notes
    with pytest.raises(QueryError, match="Expected a ledger"):
        found(searcher, since=date(2019, 1, 1))


def test_path_and_date_are_those_of_one_file(copied: Path, tiny: TinyModels) -> None:
    """A copy in the album of the 9th and a file elsewhere of the 1st are no file of the 1st in the album."""
    searcher, first = searcher_of(copied, tiny), date(2019, 5, 1)
    assert [hit.path for hit in found(searcher, "album/*", since=date(2019, 5, 9)).hits] == [COPY]
    assert not found(searcher, "album/*", until=first).hits
    assert [hit.path for hit in found(searcher, "cold/*", until=first).hits] == [BLUE]


def test_the_command_finds_copies_and_tells_every_place(
    copied: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As JSON and as a table."""
    monkeypatch.chdir(copied)
    prepared(copied, tiny, monkeypatch)
    assert code("search", "store", "--row", "1", "--glob", "album/*", "--json") == 0
    (result,) = json.loads(capfd.readouterr().out)["results"]
    source = str(copied / "photos")
    assert result["places"] == [{"source": source, "path": COPY}, {"source": source, "path": BLUE}]
    assert result["path"] == COPY
    assert code("search", "store", "--row", "1", "--glob", "album/*") == 0
    told = re.sub(r"\s", "", capfd.readouterr().out)
    assert told.index(COPY) < told.index(BLUE)


def test_until_a_day_is_to_its_end(
    copied: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A day counts as a whole in `--since` and `--until`; of a moment, what is before it counts."""
    monkeypatch.chdir(copied)
    prepared(copied, tiny, monkeypatch)

    def told(*dates: str) -> list[str]:
        capfd.readouterr()
        assert code("search", "store", "--row", "1", "--glob", "album/*", "--json", *dates) == 0
        return [result["path"] for result in json.loads(capfd.readouterr().out)["results"]]

    assert told("--since", "2019-05-09", "--until", "2019-05-09") == [COPY]
    assert told("--until", "2019-05-08") == told("--since", "2019-05-10") == []
    assert told("--until", "2019-05-09T12:00") == []
    assert told("--since", "2019-05-09T12:00", "--until", "2019-05-09T12:00:01") == [COPY]


def test_days_and_moments_are_exact() -> None:
    """To the nanosecond, with zones, also where no file can be."""
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert beginning_ns(noon) == end_ns(noon) == 1_717_243_200 * 10**9
    assert beginning_ns(moment("2024-06-01T14:00+02:00")) == beginning_ns(moment("2024-06-01T12:00:00Z"))
    assert beginning_ns(noon + timedelta(microseconds=1)) == beginning_ns(noon) + 1000
    day = date(2024, 6, 1)
    assert beginning_ns(day) == int(datetime(2024, 6, 1).timestamp()) * 10**9
    assert end_ns(day) == beginning_ns(date(2024, 6, 2))
    assert (beginning_ns(None), end_ns(None)) == (EARLIEST_NS, LATEST_NS)
    east = timezone(timedelta(hours=14))
    assert (
        beginning_ns(date.min) == beginning_ns(datetime.min) == end_ns(datetime.min.replace(tzinfo=east)) == EARLIEST_NS
    )
    assert beginning_ns(date.max) == end_ns(date.max) == end_ns(datetime.max.replace(tzinfo=east)) == LATEST_NS


@pytest.mark.parametrize("words", ["yesterday", "2024-02-30", "2024-06-01T25:00", "", "20240601T", "1717243200"])
def test_what_is_no_day_is_told(words: str) -> None:
    """With what a day looks like."""
    with pytest.raises(QueryError, match="Expected a day such as 2024-06-01"):
        moment(words)


def test_a_sheet_shows_a_content_by_any_of_its_files(copied: Path, tiny: TinyModels, tmp_path: Path) -> None:
    """One of two copies is enough for a thumbnail; both paths are told."""
    folder = Path(shutil.copytree(copied, tmp_path / "own"))
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    (folder / "photos" / BLUE).unlink()
    hits = found(searcher_of(folder, tiny), BLUE)
    write_sheet(tmp_path / "sheet.html", "blue", hits)
    page = (tmp_path / "sheet.html").read_text()
    (picture,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    blue = Image.open(io.BytesIO(base64.b64decode(picture))).getpixel((48, 60))
    assert isinstance(blue, tuple)
    assert blue[2] > 200 > 60 > blue[0]
    assert BLUE in page
    assert COPY in page


def test_a_touched_copy_is_still_found(copied: Path, tiny: TinyModels, tmp_path: Path) -> None:
    """A scan finds that its time has changed; until it is read again it counts for what it held."""
    from pixelmill.run.scan import scan_sources
    from pixelmill.store.commit import StoreWriter

    folder = Path(shutil.copytree(copied, tmp_path / "own"))
    make_store(folder / "store", folder / "photos", tiny, [tiny.torchvision])
    os.utime(folder / "photos" / COPY)
    paint(folder / "photos/new.png", (1, 2, 3))
    with StoreWriter(folder / "store") as writer:
        scan_sources(writer.ledger, [str(folder / "photos")])
    searcher = searcher_of(folder, tiny)
    assert [hit.path for hit in found(searcher, "album/*").hits] == [COPY]
    assert [hit.path for hit in found(searcher, "album/*", since=date(2024, 1, 1)).hits] == [COPY]
