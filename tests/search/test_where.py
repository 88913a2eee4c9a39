"""A condition in SQL says which rows pass: by what is known of pictures, by an engine that reaches nothing else."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelmill
from pixelmill.errors import QueryError
from pixelmill.search.conditions import require_bounded
from pixelmill.search.filters import Filters
from pixelmill.search.query import Row
from pixelmill.search.searcher import Searcher
from tests.support.checkpoints import TinyModels
from tests.support.searchable import make_store, paint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModels) -> Path:
    return make(tmp_path_factory.mktemp("where"), tiny)


@pytest.fixture
def store(made: Path) -> pixelmill.Store:
    return pixelmill.Store(made / "store")


def make(folder: Path, tiny: TinyModels) -> Path:
    """Five pictures: one of them twice, one whose name is no UTF-8, one that was deleted after a run."""
    photos = folder / "photos"
    paint(photos / "2023/red.png", (200, 0, 0), (100, 50))
    paint(photos / "2024/blue.jpg", (0, 0, 200), (60, 90))
    paint(photos / "2024/Green's.png", (0, 200, 0), (40, 40))
    paint(photos / "gone.png", (9, 9, 9))
    paint(photos / "odd.png", (70, 80, 90)).rename(os.fsdecode(bytes(photos) + b"/od\xe9.png"))
    (photos / "2024/copy.png").write_bytes((photos / "2023/red.png").read_bytes())
    for name, year in {"2023/red.png": 2023, "2024/copy.png": 2024, "2024/blue.jpg": 2024}.items():
        moment = datetime(year, 6, 1, 12).timestamp()
        os.utime(photos / name, (moment, moment))
    make_store(folder / "store", photos, tiny, [tiny.torchvision])
    (photos / "gone.png").unlink()
    make_store(folder / "store", photos, tiny, [tiny.torchvision])
    return folder


def names(store: pixelmill.Store, where: str) -> set[str]:
    return {Path(store.place(int(row))[1]).name for row in store.rows_where(where)}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("width > height", {"red.png", "odé.png"}),
        ("least(width, height) >= 50 AND path LIKE '2024/%'", {"blue.jpg", "red.png"}),
        ("path = '2024/Green''s.png' or width = 60", {"Green's.png", "blue.jpg"}),
        ("PATH GLOB '2024/*' and not path like '%copy%'", {"Green's.png", "blue.jpg"}),
        (r"path = 'od\xe9.png'", {"odé.png"}),
        ("modified between TIMESTAMP '2023-06-01' and '2023-06-02'", {"red.png"}),
        ("modified >= '2024-06-01' and modified < '2024-06-02' and width > 50", {"blue.jpg", "red.png"}),
        ("year(modified) = 2024 -- the copy's", {"blue.jpg", "red.png"}),
        ("bytes > 1000000", set()),
        ("source NOT LIKE '%/photos'", set()),
        ("row IN (0, 1, 2, 3, 4) AND sha256 ~ '[0-9a-f]{64}' and true", {"red.png", "blue.jpg", "Green's.png", "odé.png"}),
        ("path LIKE '2024/%' AND modified < current_date - INTERVAL 30 DAY", {"red.png", "blue.jpg"}),
        ("modified < current_timestamp AND modified > localtimestamp", set()),
        ("NULL", set()),
    ],
)  # fmt: skip
def test_rows_are_found_by_each_column(store: pixelmill.Store, where: str, found: set[str]) -> None:
    """A content in several files passes if one of them does; a file that is gone never does."""
    assert {name.replace("\udce9", "é") for name in names(store, where)} == found


def test_the_columns_are_what_other_programs_see(store: pixelmill.Store) -> None:
    """Each row by its sha256, its size in pixels and in bytes: what Pillow and the file system say of that file."""
    for row in np.flatnonzero(store.present):
        source, path = store.place(row)
        file = Path(source, path)
        width, height = Image.open(file).size
        where = f"width = {width} AND height = {height} AND bytes = {file.stat().st_size} AND row = {row}"
        digest = store.sha256(row, row + 1).tobytes().hex()
        assert store.rows_where(f"{where} AND sha256 = '{digest}'").tolist() == [row]


@pytest.mark.parametrize("where", ["path LIKE '2024/%'", "modified >= '2024-01-01'"])
def test_a_content_is_shown_by_a_file_that_fulfils_it(store: pixelmill.Store, where: str) -> None:
    """Of a picture in two files, the one that was asked for comes first, and the other is told."""
    blue = int(store.rows_where("path LIKE '%blue.jpg'")[0])
    shown = {hit.row: [place.path for place in hit.places] for hit in store.search(row=blue, where=where, copies=True)}
    red = int(store.rows_where("path LIKE '%red.png'")[0])
    assert shown[red] == ["2024/copy.png", "2023/red.png"]
    assert store.search(row=blue, where=f"row = {red}")[0].path == "2023/red.png"


def test_a_searcher_keeps_to_it(tiny: TinyModels, tmp_path: Path) -> None:
    """Beside the other filters; and again after a run has found other files."""
    searcher = Searcher(make(tmp_path, tiny) / "store", cache=tiny.cache(tmp_path / "weights"))
    red = int(pixelmill.Store(tmp_path / "store").rows_where("path LIKE '%red.png'")[0])

    def found(**filters: object) -> set[str]:
        where = Filters(**filters)  # type: ignore[arg-type]
        return {Path(hit.path).name for hit in searcher.search([Row(red)], filters=where, copies=True).hits}

    assert found(where="path LIKE '2024/%'") == {"blue.jpg", "Green's.png"}
    assert found(where="path LIKE '2024/%'", min_size=50) == {"blue.jpg"}
    (tmp_path / "photos/2024/blue.jpg").rename(tmp_path / "photos/2023/blue.jpg")
    make_store(tmp_path / "store", tmp_path / "photos", tiny, [tiny.torchvision])
    assert found(where="path LIKE '2024/%'") == {"Green's.png"}


def test_now_is_another_moment_each_time(store: pixelmill.Store) -> None:
    """A condition about the present is asked anew by a searcher that lives on; others are remembered."""

    def stamps(where: str) -> tuple[object, object]:
        return Filters(where=where).stamp(store), Filters(where=where).stamp(store)

    for where in ("modified < now()", "modified::DATE < TODAY()", "modified < current_date", "random() < 0.5"):
        first, second = stamps(where)
        assert first != second
    for where in ("width > 1", "modified < '2024-01-01'", "path = 'now()'"):
        first, second = stamps(where)
        assert first == second


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("widht > 100", "Got 'widht'. Did you mean 'width'?"),
        (
            "label = 'dog'",
            "times (modified, taken_at). Got 'label'.",
        ),
        ('path = "a.png"', "A text stands in single quotes: 'a.png'."),
        ("width >", "SQL does not read so: syntax error"),
        ("", "SQL does not read so"),
        ("width > 'wide'", "Could not convert string 'wide' to INT32."),
        ("biggest(width)", "Scalar Function with name biggest does not exist."),
        ("width > 1; DROP TABLE pictures", "It is more than one condition."),
        ("width > 1) OR (true", "SQL does not read so"),
        ("true FROM range(3)", "It is more than one condition."),
        ("true UNION SELECT true", "It is more than one condition."),
        ("row IN (SELECT row FROM pictures)", "It has a query inside it."),
        ("width = ?", "It has a parameter."),
        ("count(*) > 1", "WHERE clause cannot contain aggregates."),
        ("COLUMNS('w.*') > 0", "It has columns by a pattern."),
        ("#1 = 1", "It has the number of a column."),
        ("path = 'od\udce9.png'", "surrogate '\\udce9'"),
        ("NOT " * 900 + "true", "NOT…. It is nested too deeply."),
    ],
)
def test_what_is_no_condition_is_told_in_words(store: pixelmill.Store, where: str, words: str) -> None:
    """With the nearest column, and the engine's own word where it is at a loss."""
    with pytest.raises(QueryError, match="Expected a condition") as raised:
        store.rows_where(where)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('{secret}')", "SELECT * FROM '{secret}'", "COPY (SELECT 1) TO '{secret}'",
        "ATTACH '{secret}'", "INSTALL httpfs", "SET enable_external_access = true", "SELECT * FROM somebodys",
        "SELECT * FROM read_csv('http://127.0.0.1:9/a.csv')",
    ],
)  # fmt: skip
def test_the_engine_reaches_nothing(statement: str, tmp_path: Path) -> None:
    """Not even past the reading of conditions: no file, no network, no extension, no variable of the program."""
    import duckdb

    from pixelmill.search.conditions import engine

    (secret := tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    somebodys = {"a": np.arange(3)}
    answering = engine()
    with pytest.raises(duckdb.Error, match=r"disabled|configuration|does not exist"):
        answering.execute(statement.format(secret=secret)).fetchall()
    assert secret.read_text() == "a,b\n1,2\n"
    assert len(somebodys["a"]) == 3


def test_a_store_without_a_ledger(tiny: TinyModels, tmp_path: Path) -> None:
    """What the ledger alone knows is refused in words; paths are those in the store, and an answer says so."""
    store = pixelmill.Store(make(tmp_path, tiny) / "store")
    (store.folder / "ledger.sqlite").unlink()
    with pytest.raises(QueryError, match=r"Expected a ledger in .* which knows modified of files"):
        store.rows_where("modified > '2024-01-01'")
    assert len(store.rows_where("path LIKE '%/copy.png' OR path LIKE '%/red.png'")) == 1
    assert any("no ledger" in note for note in store.search(row=0, where="path LIKE '%'").notes)
    assert not store.search(row=0, where="width > 1").notes


@pytest.mark.parametrize(
    "where",
    [
        "width > height AND path LIKE '2024/%' AND NOT path ILIKE '%copy%' AND path GLOB '*' AND path ~ '[0-9]+'",
        "year(modified) = 2024 AND modified::DATE >= DATE '2024-01-01' AND extract(month FROM modified) IN (5, 6)",
        "modified > current_date - INTERVAL 30 DAY AND modified BETWEEN now() - to_days(3) AND today()",
        "lower(path) = 'a' OR coalesce(width, 0) * 2 >= least(height, 5) % 3 OR path IS NULL OR path NOT LIKE 'x'",
        "CASE WHEN width > 1 THEN true ELSE false END AND path LIKE 'x!%' ESCAPE '!' AND contains(path, 'x')",
    ],
)
def test_what_people_ask_is_bounded(where: str, store: pixelmill.Store) -> None:
    """Comparisons, patterns, times and sums are taken from whoever asks over a network."""
    require_bounded(where)
    store.rows_where(where)


@pytest.mark.parametrize(
    "call",
    ["repeat(path, 9)", "path || path", "replace(path, 'a', 'aa')", "lpad(path, 9, 'a')", "range(9)", "format('{:9}', 1)",
     "list_filter([1], lambda x: x > 0)", "[x for x in [1]]", "string_agg(path, ',')", "row_number() OVER ()"],
)  # fmt: skip
def test_what_may_take_memory_without_end_is_refused(call: str) -> None:
    """From whoever asks over a network: functions that give more than they take."""
    with pytest.raises(QueryError, match="which is not taken here"):
        require_bounded(f"width > 1 AND ({call}) IS NOT NULL")
