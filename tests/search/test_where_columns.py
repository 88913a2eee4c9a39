"""Conditions see the columns of a store: as numbers, texts and times, NULL where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

import pixelmill
from pixelmill.errors import QueryError
from pixelmill.search import lines
from pixelmill.search.filters import Filters, allowed_rows
from pixelmill.store.column_values import ColumnValues
from pixelmill.store.parts import PartFiles
from tests.support.columns import TIME, add_columns, clock, store_with
from tests.support.commands import code

LABELS = ["dog", "cat", None, "dog", "Dög's", None]
SHARP = [30.5, 10.0, 25.0, None, 21.0, None]
TAKEN = ["2024-01-01T00:00:00.000", "2023-12-31T23:59:59.999", None, "2024-06-01T12:00", "1969-07-20T20:17", None]
STARS = [5, None, 3, -1, 0, None]
SCORES = [0.9, 0.1, 0.5, None, 0.7, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values: dict[str, Sequence[object]] = {
        "label": LABELS, "sharpness": SHARP, "taken_at": [t and clock(t) for t in TAKEN], "stars": STARS,
        "dog.score": SCORES, "count": STARS,
    }  # fmt: skip
    return store_with(tmp_path_factory.mktemp("columns") / "store", values, {"taken_at": TIME})


@pytest.fixture
def store(folder: Path) -> pixelmill.Store:
    return pixelmill.Store(folder)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("label = 'dog' AND taken_at >= TIMESTAMP '2024-01-01' AND sharpness > 20", [0]),
        ("LABEL = 'dog'", [0, 3]),
        ("label IS NULL", [2, 5]),
        ("label != 'dog'", [1, 4]),
        ("label = 'Dög''s'", [4]),
        ("upper(label) = 'DOG'", [0, 3]),
        ("taken_at >= TIMESTAMP '2024-01-01'", [0, 3]),
        ("taken_at >= '2024-01-01'", [0, 3]),
        ("taken_at::DATE = DATE '2023-12-31'", [1]),
        ("year(taken_at) = 1969", [4]),
        ("taken_at IS NULL", [2, 5]),
        ("taken_at < modified AND row < 2", []),
        ("sharpness < 20 OR sharpness IS NULL", [1, 3, 5]),
        ("stars <= 0", [3, 4]),
        ("stars IS NULL AND sharpness > 1", [1]),
        ('"dog.score" > 0.6', [0, 4]),
        ("\"count\" = 5 AND path LIKE '%.png'", [0]),
        ("label = 'dog' AND path LIKE '3/%'", [3]),
    ],
)
def test_rows_are_found_by_columns(store: pixelmill.Store, where: str, found: list[int]) -> None:
    """What is missing is NULL, whatever stands for it in the store: it is less, greater or equal to nothing."""
    assert store.rows_where(where).tolist() == found


def test_blocks_change_nothing(store: pixelmill.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a block has no value at all, in conditions over rows and over files."""
    monkeypatch.setattr(lines, "BLOCK", 1)
    assert store.rows_where("label = 'dog'").tolist() == [0, 3]
    assert store.rows_where("label = 'dog' AND path LIKE '3/%'").tolist() == [3]
    assert store.rows_where("taken_at IS NULL AND stars IS NULL").tolist() == [5]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("lable = 'dog'", "Got 'lable'. Did you mean 'label'?"),
        ("place = 'x'", "texts (path, source, sha256, label), times (modified, taken_at). Got 'place'."),
        ("place = 'x'", "over numbers (row, width, height, bytes, sharpness, stars, dog.score, count)"),
        ("when IS NULL", 'near "when". A column of that name stands in double quotes: "when".'),
        ("label > 3", "an explicit cast is required. Here label is a text."),
        ("taken_at > 5 AND stars > 1", "Here stars is a number and taken_at is a time."),
        ("sharpness LIKE '3%'", "Here sharpness is a number."),
        (
            "dog.score > 0.5",
            "Got 'dog.score'. A name with a dot or a minus in it stands in double quotes: \"dog.score\".",
        ),
    ],
)
def test_what_is_wrong_is_told_with_kinds(store: pixelmill.Store, where: str, words: str) -> None:
    """A name that is none with the nearest one and the list; a value of another type with what the column is."""
    with pytest.raises(QueryError) as raised:
        store.rows_where(where)
    assert words in str(raised.value)


def test_only_what_is_named_is_read(store: pixelmill.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition over the width reads no column and no text; one over a column that column alone."""
    seen = []
    real = ColumnValues.read

    def read(self: ColumnValues, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        seen.append(name)
        return real(self, name, start, stop)

    def texts(self: PartFiles, *_: object) -> np.ndarray:
        raise AssertionError("no text is asked for")

    monkeypatch.setattr(ColumnValues, "read", read)
    monkeypatch.setattr(PartFiles, "texts", texts)
    assert len(store.rows_where("width > 0")) == 6
    assert not seen
    assert store.rows_where("stars = 5").tolist() == [0]
    assert seen == ["stars"]


def test_a_search_keeps_to_columns(store: pixelmill.Store) -> None:
    """By itself and beside what differs among files."""
    assert {hit.row for hit in store.search(row=1, where="label = 'dog'")} == {0, 3}
    assert [hit.row for hit in store.search(row=1, where="label = 'dog' AND path LIKE '3/%'")] == [3]


def test_names_that_differ_in_case_alone_are_not_mixed_up(tmp_path: Path) -> None:
    """Each can be asked for by itself, as it is written."""
    store = pixelmill.Store(store_with(tmp_path / "store", {"ID": [1, 2], "id": [3, 4], "Width": ["a", "b"]}))
    assert store.rows_where("ID = 2").tolist() == store.rows_where("id = 4").tolist() == [1]
    with pytest.raises(QueryError, match="Got ID and id, which differ in case"):
        store.rows_where("ID = 2 AND id = 4")


def test_bytes_is_one_number_wherever_it_is_known(folder: Path, tmp_path: Path) -> None:
    """The fact where the store has it, also without a ledger; of a row without, what the ledger says."""
    made = store_with(tmp_path / "store", {"label": ["a", "b", "c"]})
    assert pixelmill.Store(made).rows_where("bytes = 10").tolist() == [0, 1, 2]
    add_columns(made, {"bytes": [10, None, 10]}, {"bytes": "bytes"})
    assert pixelmill.Store(made).rows_where("bytes = 10").tolist() == [0, 1, 2]
    for file in made.glob("ledger.sqlite*"):
        file.unlink()
    assert pixelmill.Store(made).rows_where("bytes = 10").tolist() == [0, 2]
    assert pixelmill.Store(made).rows_where("bytes IS NULL").tolist() == [1]


def test_a_time_that_no_calendar_has_is_missing(tmp_path: Path) -> None:
    """A number of milliseconds beyond what there are dates for costs itself."""
    made = store_with(tmp_path / "store", {"taken_at": [2**62, -(2**62), 0]}, {"taken_at": TIME})
    assert pixelmill.Store(made).rows_where("taken_at IS NULL").tolist() == [0, 1]
    assert pixelmill.Store(made).rows_where("taken_at = TIMESTAMP '1970-01-01'").tolist() == [2]


# As the camera's clock had it, minutes ahead of UTC, and that moment for all the world.
AUCKLAND = ("2024-06-02T00:30", 13 * 60)  # 2024-06-01T11:30Z
HONOLULU = ("2024-06-01T23:30", -10 * 60)  # 2024-06-02T09:30Z
NOWHERE = ("2024-06-01T12:00", None)


@pytest.fixture
def travelled(tmp_path: Path) -> Path:
    """Four pictures: two from places far apart, one without a zone, one that does not say when; all files of 1970."""
    taken = [clock(AUCKLAND[0]), clock(HONOLULU[0]), clock(NOWHERE[0]), None]
    values = {"taken_at": taken, "taken_offset": [AUCKLAND[1], HONOLULU[1], None, None]}
    return store_with(tmp_path / "store", values, {"taken_at": TIME, "taken_offset": "minutes"})


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2024-06-01", "2024-06-01", [1, 2]),
        ("2024-06-02", "2024-06-02", [0]),
        ("2024-06-01T23:30", None, [0, 1]),
        (None, "2024-06-01T23:30", [2, 3]),
        ("2024-06-01T11:30Z", "2024-06-01T11:30:00.001Z", [0]),
        ("2024-06-02T09:30:00+00:00", None, [1]),
        ("2024-06-02T11:30:00.000001+02:00", None, []),
        (None, "1970-01-01", [3]),
        ("1969-01-01", None, [0, 1, 2, 3]),
        ("0001-01-01", "9999-12-31", [0, 1, 2, 3]),
        ("0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00", [0, 1, 2, 3]),
    ],
)
def test_a_day_is_the_day_where_it_was_taken(
    travelled: Path, since: str | None, until: str | None, found: list[int]
) -> None:
    """A day and a moment without a zone are the camera's own; one with a zone is one for all the world. A picture that
    does not say when it was taken has the time of its file."""
    from pixelmill.search.moments import moment

    filters = Filters(since=since and moment(since), until=until and moment(until))  # type: ignore[arg-type]
    assert np.flatnonzero(allowed_rows(pixelmill.Store(travelled), filters)).tolist() == found


def test_conditions_and_filters_mean_the_same_day(travelled: Path) -> None:
    """`taken_at::DATE` and --since, --until."""
    store = pixelmill.Store(travelled)
    day = date(2024, 6, 1)
    by_filter = np.flatnonzero(allowed_rows(store, Filters(since=day, until=day))).tolist()
    assert store.rows_where("taken_at::DATE = DATE '2024-06-01'").tolist() == by_filter == [1, 2]


def test_without_a_zone_a_camera_is_in_ours(travelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a moment for all the world is asked for, and a camera did not say its own."""
    import time

    store, noon = pixelmill.Store(travelled), datetime.fromisoformat("2024-06-01T10:00Z")
    for zone, found in (("Europe/Berlin", [0, 1, 2]), ("UTC", [0, 1, 2]), ("Asia/Tokyo", [0, 1])):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert np.flatnonzero(allowed_rows(store, Filters(since=noon))).tolist() == found
    monkeypatch.undo()
    time.tzset()


def test_path_and_date_of_taken_pictures(travelled: Path) -> None:
    """Both must fit."""
    filters = Filters(globs=("1/*", "3/*"), since=date(2024, 6, 1))
    assert np.flatnonzero(allowed_rows(pixelmill.Store(travelled), filters)).tolist() == [1]


def test_a_search_says_what_its_dates_are(travelled: Path, tmp_path: Path) -> None:
    """Those of cameras, and how many pictures have only that of their file; or all of these."""
    from pixelmill.models.weights import WeightsCache
    from pixelmill.search.query import Row
    from pixelmill.search.searcher import Searcher

    def notes(folder: Path) -> list[str]:
        searcher = Searcher(folder, cache=WeightsCache(tmp_path / "none", offline=True))
        found = searcher.search([Row(0)], filters=Filters(since=date(1969, 1, 1)))
        return [note for note in found.notes if note.startswith("Dates are ")]

    (note,) = notes(travelled)
    assert note.endswith("by the clock of the camera; of 1 picture without, when the file last changed.")
    plain = store_with(tmp_path / "plain", {"label": ["a", "b"]})
    assert notes(plain) == ["Dates are when files last changed: no picture here says when it was taken."]


def test_dates_of_cameras_need_no_ledger(travelled: Path) -> None:
    """Where each picture says when it was taken; where one does not, the ledger is missed."""
    for file in travelled.glob("ledger.sqlite*"):
        file.unlink()
    store = pixelmill.Store(travelled)
    with pytest.raises(QueryError, match="Expected a ledger"):
        allowed_rows(store, Filters(since=date(2024, 6, 1)))


def test_the_command_shows_columns(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each result, in JSON and in the table: numbers, texts, times; null or nothing where it is not known."""
    monkeypatch.setenv("COLUMNS", "200")
    asked = ("search", str(folder), "--row", "1", "--copies", "--where", "label = 'dog'", "--model", "a")
    assert code(*asked, "--columns", "label,taken_at, sharpness,stars", "--json") == 0
    told = {result["row"]: result["columns"] for result in json.loads(capfd.readouterr().out)["results"]}
    assert told == {
        0: {"label": "dog", "taken_at": "2024-01-01T00:00:00.000", "sharpness": 30.5, "stars": 5},
        3: {"label": "dog", "taken_at": "2024-06-01T12:00:00.000", "sharpness": None, "stars": -1},
    }
    assert code(*asked, "--json") == 0
    assert "columns" not in json.loads(capfd.readouterr().out)["results"][0]
    assert code(*asked, "--columns", "taken_at,sharpness") == 0
    table = capfd.readouterr().out
    assert "taken_at" in table
    assert "30.5" in table
    assert "None" not in table
    assert code(*asked, "--columns", "lable") == 2
    assert "Did you mean 'label'?" in capfd.readouterr().err
