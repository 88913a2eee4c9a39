"""`pixelmill.Store` searches, lists and shows one snapshot, and gives what the searcher and the files give."""

from __future__ import annotations

import base64
import io
import os
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pixelmill
from pixelmill.errors import (
    NoTextTower,
    PixelmillError,
    QueryError,
    SourceError,
    StoreError,
    UnknownColumn,
    UnknownModel,
)
from pixelmill.search.query import Picture, Row, Term, Text
from pixelmill.search.searcher import Searcher
from tests.support.checkpoints import TinyModels
from tests.support.columns import TIME, clock, store_with
from tests.support.searchable import CACHE, make_store, paint

CLIP, OTHER, MUTE = "tiny_openai_clip", "tiny_open_clip", "tiny_resnet18"


@pytest.fixture
def store(made: Path, tiny: TinyModels) -> pixelmill.Store:
    """With a settings file that says where the weights are."""
    Path("here.toml").write_text(f'[weights]\ncache_dir = "{made / CACHE}"\nmirrors = {{"*" = "{tiny.folder}"}}\n')
    return pixelmill.Store(made / "store", config="here.toml")


def rows_of(found: Any) -> list[tuple[int, float]]:
    return [(hit.row, pytest.approx(hit.score, abs=1e-5)) for hit in found]


def test_it_gives_what_the_searcher_gives(
    store: pixelmill.Store, searcher: Searcher, made: Path, tiny: TinyModels
) -> None:
    """Words, pictures and rows, alone, in lists and with weights; by models of one's own as by those of the catalog."""
    red = made / "photos/warm/red.png"
    data = red.read_bytes()
    specs = {spec.name: spec for spec in tiny.specs}
    asked: list[tuple[dict[str, Any], list[Term]]] = [
        ({"text": "a red thing"}, [Text("a red thing")]),
        ({"text": ["red", "-blue", "2:a circle", ("-x", -0.5)]},
         [Text("red"), Text("blue", -1), Text("a circle", 2), Text("-x", -0.5)]),
        ({"text": "red", "image": red, "row": 2}, [Text("red"), Picture(data), Row(2)]),
        ({"image": [data, (str(red), -0.25)], "row": [0, (3, 2)]},
         [Picture(data), Picture(data, -0.25), Row(0), Row(3, 2.0)]),
        ({"image": np.asarray(Image.open(red)), "row": np.array([1, 4])}, [Picture(data), Row(1), Row(4)]),
    ]  # fmt: skip
    for arguments, terms in asked:
        found = store.search(**arguments, model=specs[CLIP], k=4)
        assert rows_of(found) == [(hit.row, hit.score) for hit in searcher.search(terms, 4, models=[CLIP]).hits]
    two = store.search("red", model=[specs[OTHER], CLIP], weights=(2, 1), copies=True)
    assert two.models == (OTHER, CLIP)
    assert len(two) == len(store)


def test_results_are_a_sequence(store: pixelmill.Store) -> None:
    """Of hits, best first, with their rows, scores and files as arrays; a table; a line each in a terminal."""
    found = store.search(row=0, model=MUTE)
    assert [hit.row for hit in found] == found.rows.tolist() == [hit.row for hit in found.hits]
    assert found[0].score == found.scores[0] == max(found.scores)
    assert (found[0], found[-1], found[:2]) == (found.hits[0], found.hits[-1], found.hits[:2])
    assert found.paths == [hit.absolute for hit in found]
    assert found.to_pandas()["row"].tolist() == found.rows.tolist()
    assert repr(found).splitlines()[1] == f"{found[0].score:.4f}  row {found[0].row}  {found[0].absolute}"
    assert f"<SearchResults: {len(found)} by {MUTE}>" in repr(found)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, QueryError, "something to search for"),
        ({"text": "  "}, QueryError, "Expected words"),
        ({"text": ("a", "b")}, QueryError, r"Expected \(what, weight\)"),
        ({"text": ("a", 0)}, QueryError, "a weight other than 0"),
        ({"text": "red", "model": MUTE}, NoTextTower, "knows pictures only"),
        ({"row": "3"}, QueryError, "a row's number"),
        ({"row": 99, "model": MUTE}, QueryError, "Expected a row from 0"),
        ({"image": "no.png"}, SourceError, r"images\[0\] \(no\.png\) cannot be read"),
        ({"image": [b"", b"no picture"], "model": MUTE}, PixelmillError, r"images\[0\] \(0 bytes\): The file is empty"),
        ({"image": io.BytesIO(b"a\nb"), "model": MUTE}, TypeError, r"images\[0\] \(BytesIO\)"),
        ({"row": 0, "model": "tiny_resnet"}, UnknownModel, MUTE),
        ({"row": 0, "k": 0}, QueryError, "one result or more"),
        ({"row": 0, "k": 2.5}, QueryError, "one result or more"),
        ({"row": (0, 1e308)}, QueryError, r"Expected \(what, weight\)"),
        ({"row": (0, 1e-320)}, QueryError, "leave a direction"),
        ({"row": 0, "weights": [0]}, StoreError, "finite weights, one of them other than 0"),
        ({"row": 0, "weights": [float("nan")]}, StoreError, "finite weights"),
        ({"row": 0, "weights": 2}, StoreError, "one weight for each of 1 models. Got 2"),
        ({"row": 0, "where": "widht > 1"}, QueryError, "Did you mean 'width'"),
    ],
)
def test_what_cannot_be_answered_is_told(
    arguments: dict[str, Any], error: type[Exception], words: str, store: pixelmill.Store, tiny: TinyModels
) -> None:
    """In words, with what would be right."""
    by_name = {spec.name: spec for spec in tiny.specs}
    arguments = {**arguments, "model": by_name.get(arguments.get("model", ""), arguments.get("model"))}
    with pytest.raises(error, match=words):
        store.search(**arguments)


def test_numbers_may_be_numpys(store: pixelmill.Store) -> None:
    """Rows, weights of terms and of models, how many: what an array gives is a number like others."""
    plain = store.search(row=[(0, 0.5), (1, -2)], model=[MUTE], weights=[3], k=2)
    pairs = [(np.int64(0), np.float32(0.5)), (np.int64(1), np.int16(-2))]
    numpys = store.search(row=pairs, model=[MUTE], weights=np.array([3.0]), k=np.int64(2))  # type: ignore[arg-type]
    assert rows_of(numpys) == [(hit.row, hit.score) for hit in plain]


def test_more_than_there_is_may_be_asked_for(store: pixelmill.Store) -> None:
    """It is all that there is, and takes no room for more."""
    for exact, copies in ((True, True), (False, False)):
        assert len(store.search(row=0, model=MUTE, k=10**12, exact=exact, copies=copies)) <= len(store)


def test_a_store_is_one_snapshot(place: Path, tiny: TinyModels) -> None:
    """Later commits are seen by opening it again, in results and in tables as in matrices."""
    before = pixelmill.Store(place / "store")
    before.search(row=0)
    paint(place / "photos/new.png", (250, 30, 30), (64, 64))
    make_store(place / "store", place / "photos", tiny, [tiny.openai_clip])
    after = pixelmill.Store(place / "store")
    for store, there in ((before, False), (after, True)):
        row = len(before)
        assert (row in store.search(row=0, k=99, copies=True).rows) is there
        assert (row in store.to_pandas()["row"].tolist()) is there


def test_tables_hold_what_the_store_holds(store: pixelmill.Store, made: Path) -> None:
    """pandas' and Arrow's: a line for each file, vectors where there are some, only what fulfils a condition."""
    frame = store.to_pandas(vectors=[CLIP, MUTE], columns=())
    assert frame.columns.tolist() == ["row", "path", "source", "sha256", "width", "height", CLIP, MUTE]
    np.testing.assert_array_equal(np.stack(frame[MUTE]), store[MUTE][frame["row"].to_numpy()])
    for line in frame.itertuples():
        assert Image.open(Path(line.source, line.path)).size == (line.width, line.height)
    table = store.to_arrow(vectors=CLIP, where="width > 100")
    assert 0 < table.num_rows < len(frame)
    column = table[CLIP].combine_chunks()
    assert str(column.type) == f"fixed_size_list<item: float>[{store[CLIP].shape[1]}]"
    stored = store[CLIP][table["row"].to_numpy()]
    np.testing.assert_array_equal(column.flatten().to_numpy().reshape(stored.shape), stored)
    assert store.to_arrow(columns=[]).to_pandas().equals(store.to_pandas(columns=[]))
    assert store.to_arrow(where="false").schema == store.to_arrow().schema
    with pytest.raises(UnknownModel):
        store.to_pandas(vectors="resnet")


def test_what_has_no_vector_or_no_utf8_is_in_a_table_all_the_same(place: Path, tiny: TinyModels) -> None:
    """As None, null, and an escape; what is gone is not."""
    (place / "photos/od\udce9.png").write_bytes(b"no picture")
    (place / "photos/warm/red.png").unlink()
    make_store(place / "store", place / "photos", tiny, [tiny.openai_clip])
    store = pixelmill.Store(place / "store")
    frame, table = store.to_pandas(vectors=CLIP), store.to_arrow(vectors=CLIP)
    odd = frame["path"].tolist().index(r"od\xe9.png")
    assert frame[CLIP][odd] is None
    assert table[CLIP].null_count == 1
    assert table[CLIP][odd].as_py() is None
    assert "warm/red.png" not in frame["path"].tolist()
    assert len(frame) == table.num_rows == len(store) - 1


@pytest.mark.parametrize(("package", "extra"), [("pandas", "pandas"), ("pyarrow", "parquet")])
def test_a_package_that_is_missing_is_named(
    package: str, extra: str, store: pixelmill.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that brings it."""
    monkeypatch.setitem(sys.modules, package, None)
    make = store.to_pandas if package == "pandas" else store.to_arrow
    with pytest.raises(PixelmillError, match=re.escape(f"pip install 'pixelmill[{extra}]'")):
        make()


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_stores_and_results_show_their_pictures(place: Path, tiny: TinyModels) -> None:
    """Small, as JPEG within the HTML, which names nothing outside; a file that is gone, or damaged since, is a word."""
    shutil.copyfile(place / "photos/cold/blue.png", place / "photos/cold/<img src=x>.png")
    paint(place / "photos/cold/<script>.png", (1, 2, 3), (40, 400))
    make_store(place / "store", place / "photos", tiny, [tiny.openai_clip])
    (place / "photos/cold/green.png").unlink()
    (place / "photos/warm/yellow.png").write_bytes(b"\x89PNG no more")
    store = pixelmill.Store(place / "store")
    for html in (store._repr_html_(), store.search(row=0, copies=True)._repr_html_()):
        shown = pictures_in(html)
        assert len(shown) >= 4
        assert max(max(picture.size) for picture in shown) <= 128
        assert "No such file or directory" in html
        assert "<script>" not in html
        assert "<img src=x>" not in html
        assert "&lt;script&gt;.png" in html
        assert not re.search(r'(src|href)="(?!data:)', html)
    assert CLIP in store._repr_html_()
    assert repr(store) == f"<Store {place}/store: {len(store)} rows, {CLIP} (40)>"


def test_many_pictures_are_few_thumbnails(made: Path, store: pixelmill.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's file does not grow with the store, and waits for none that hangs."""
    monkeypatch.setattr("pixelmill.api.store._SHOWN", 3)
    monkeypatch.setattr("pixelmill.api.results._SHOWN", 2)
    found = store.search(row=0, model=MUTE)
    assert len(pictures_in(store._repr_html_())) == 3
    assert len(pictures_in(found._repr_html_())) == 2
    assert f"… and {len(found) - 2} more." in found._repr_html_()
    monkeypatch.setattr("pixelmill.api.thumbnails.SECONDS", 0.0)
    monkeypatch.setattr("pixelmill.api.thumbnails.thumbnail", lambda *_: __import__("time").sleep(0.3))
    assert "not read in time" in store._repr_html_()


def test_a_store_travels_to_other_processes(store: pixelmill.Store) -> None:
    """By its folder, also when it was read and searched before: workers of a DataLoader get their own."""
    store.search(row=0, model=MUTE)
    view = pickle.loads(pickle.dumps(store[MUTE]))
    np.testing.assert_array_equal(view[:], store[MUTE][:])
    assert (
        pickle.loads(pickle.dumps(store)).search(row=0, model=MUTE).rows.tolist()
        == store.search(row=0, model=MUTE).rows.tolist()
    )


def test_there_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without one, and an address, are told in words; `~` is a home folder."""
    for folder in (tmp_path, "s3://bucket/store"):
        with pytest.raises(StoreError, match="Expected a"):
            pixelmill.Store(folder)
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "nowhere"))):
        pixelmill.Store("~/nowhere")


def test_tables_and_results_carry_columns(tmp_path: Path) -> None:
    """pandas' and Arrow's with the types of columns, all or those that are named; missing is what each calls so."""
    import pandas as pd

    stars, labels, taken = [5, None, -1], ["dog", None, "cat"], ["2024-06-01T12:00:00.250", None, "1969-07-20"]
    values: dict[str, list[object]] = {
        "stars": stars, "label": labels, "taken_at": [t and clock(t) for t in taken], "light": [0.5, None, 2.0],
        "score": ["theirs", None, None], "width": [1, 2, 3],
    }  # fmt: skip
    store = pixelmill.Store(store_with(tmp_path / "store", values, {"taken_at": TIME}))
    frame, table = store.to_pandas(vectors="a"), store.to_arrow(vectors="a")
    assert frame.columns.tolist() == table.column_names
    assert frame.columns.tolist()[6:] == ["stars", "label", "taken_at", "light", "score", "columns/width", "a"]
    assert frame.dtypes[["stars", "taken_at", "light"]].astype(str).tolist() == ["Int64", "datetime64[ms]", "float64"]
    assert frame["taken_at"][0] == pd.Timestamp("2024-06-01T12:00:00.250")
    assert all(frame[name].isna().tolist() == [False, True, False] for name in ("stars", "label", "taken_at", "light"))
    assert [table[name].to_pylist() for name in ("stars", "label")] == [stars, labels]
    assert frame["columns/width"].tolist() == table["columns/width"].to_pylist() == [1, 2, 3]
    assert store.to_pandas(columns="label", where="stars = 5")["label"].tolist() == ["dog"]
    assert store.to_pandas(columns=[]).columns.tolist()[-1] == "height"
    found = store.search(row=0, k=2)
    told = found.to_pandas(columns=["label", "score"])
    assert told["label"].isna().tolist() == [labels[row] is None for row in found.rows]
    assert told.columns.tolist() == ["row", "score", "path", "source", "width", "height", "label", "columns/score"]
    with pytest.raises(UnknownColumn, match="Did you mean 'label'"):
        found.to_pandas(columns="lable")
    with pytest.raises(StoreError, match="the name of another column"):
        store.to_pandas(vectors=["a", "a"])
