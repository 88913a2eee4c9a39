"""What came with pictures is found beside them, read once, and read again only where it changed; nothing else is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixelmill.run import beside
from pixelmill.run.beside import read_beside
from pixelmill.run.companions import BesideReport
from pixelmill.run.scan import scan_sources
from pixelmill.sources import archives
from pixelmill.store.ledger import Ledger
from pixelmill.watch import calls
from tests.support.archives import content, pack_tar, pack_zip
from tests.support.beside_nights import Night


@pytest.fixture(autouse=True)
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of archives is asked for each time."""
    monkeypatch.setattr(archives, "_STATUS_SECONDS", 1e-9)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The companions that were read, by their paths; rows of Parquet are not among them."""
    read, seen = beside.read_image, list[str]()

    def noted(file: Any, *, max_bytes: int) -> bytes:
        seen.append(file.path)
        return read(file, max_bytes=max_bytes)

    monkeypatch.setattr(beside, "read_image", noted)
    return seen


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    (tmp_path / "store").mkdir()
    with Ledger(tmp_path / "store") as ledger:
        yield Night(ledger)


Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Files of a folder: pictures where a value is None."""

    def files(**given: Any) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        for name, data in given.items():
            data = content(len(name)) if data is None else data
            data = json.dumps(data) if isinstance(data, (dict, list)) else data
            (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return folder

    return files


def test_files_beside_pictures_speak_of_them(night: Night, put: Put, reads: list[str]) -> None:
    """A text, a class, a JSON and a sidecar of XMP are matched by their names, and what comes first counts first."""
    folder = put(**{
        "horse.png": None, "horse.txt": "A horse.\n", "horse.cls": "7", "horse.json": {"caption": "no", "score": 0.5},
        "cow.jpg": None, "cow.jpg.txt": "A cow.", "cow.txt": "not this", "cow.xmp": XMP, "pig.png": None,
        "other.txt": "of no picture", "deep.json": "[" * 10,
    })  # fmt: skip
    assert night(folder) == {
        "horse.png": {"caption": "A horse.", "label": 7, "score": 0.5},
        "cow.jpg": {"caption": "A cow.", "rating": 4, "keywords": '["cow", "green"]'},
        "pig.png": {},
    }
    assert sorted(reads) == ["cow.jpg.txt", "cow.txt", "cow.xmp", "horse.cls", "horse.json", "horse.txt"]
    assert night.report == BesideReport(read=6)


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="4">
<dc:subject><rdf:Bag><rdf:li>cow</rdf:li><rdf:li>green</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_a_night_without_changes_reads_nothing(
    night: Night, put: Put, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither files nor archives are opened again, also those of no picture, and no row is joined anew."""
    folder = put(**{"a.png": None, "a.txt": "a", "nobody.txt": "x", "nobody.json": {}})
    pack_tar(folder / "s.tar", {"000.png": content(1), "000.txt": b"zero"})
    before = night(folder, folder / "s.tar")
    assert before == {"a.png": {"caption": "a"}, "000.png": {"caption": "zero"}}
    assert night.changed == [0, 1]
    reads.clear()
    monkeypatch.setattr("pixelmill.sources.discover.head_of", pytest.fail)
    monkeypatch.setattr("pixelmill.sources.listing.listed", pytest.fail)
    assert night(folder, folder / "s.tar") == before
    assert (reads, night.changed, night.report) == ([], [], BesideReport())


def test_a_text_that_changes_is_noticed(night: Night, put: Put, reads: list[str]) -> None:
    """Its picture is not: only the row of the text is joined anew. One that says the same as before changes nothing."""
    folder = put(**{"a.png": None, "a.txt": "a", "b.png": None, "b.txt": "b"})
    night(folder)
    reads.clear()
    put(**{"b.txt": "another", "a.txt": "a \n"})
    assert night(folder)["b.png"] == {"caption": "another"}
    assert sorted(reads) == ["a.txt", "b.txt"]
    assert night.changed == [night.ledger.contents.row_of(os.fsencode(folder / "b.png")[-32:])]
    assert night.scan.seen == 2
    assert list(night.ledger.worklist.images(night.scan.number, lambda row: row is None)) == []


def test_what_is_gone_says_nothing_any_more(night: Night, put: Put) -> None:
    """A text that is removed takes its values along; one that comes back, or whose picture comes later, is read."""
    folder = put(**{"a.png": None, "a.txt": "a", "later.txt": "late"})
    night(folder)
    (folder / "a.txt").unlink()
    put(**{"later.png": None})
    assert night(folder) == {"a.png": {}, "later.png": {"caption": "late"}}
    assert night.changed == [0, 1]
    put(**{"a.txt": "again"})
    assert night(folder)["a.png"] == {"caption": "again"}


def test_a_source_that_cannot_be_looked_at_loses_nothing(night: Night, put: Put, tmp_path: Path) -> None:
    """A disk that is not there and an empty mount point leave all values as they are."""
    folder = put(**{"a.png": None, "a.txt": "a", "b.png": None, "b.txt": "b"})
    before = night(folder)
    folder.rename(tmp_path / "away")
    (tmp_path / "other.png").write_bytes(content(9))
    other = tmp_path / "other.png"
    assert night(folder, other) == {**before, "other.png": {}}
    folder.mkdir()
    assert night(folder) == {**before, "other.png": {}}
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    before["other.png"] = {}
    assert night(folder) == before
    assert night.changed == []


@pytest.mark.parametrize("pack", [pack_tar, pack_zip])
def test_members_of_an_archive_are_matched_by_their_key(
    night: Night, tmp_path: Path, pack: Callable[..., None], reads: list[str]
) -> None:
    """WebDataset's members of one key belong together, also where the picture's name has a second dot."""
    members = {
        "train/000.png": content(1), "train/000.txt": b"zero", "train/000.cls": b"3", "train/000.json": b'{"key": "000"}',
        "train/001.seg.png": content(2), "train/001.txt": "eins ä".encode("latin-1"), "__MACOSX/001.txt": b"none",
    }  # fmt: skip
    pack(tmp_path / "shard.zip" if pack is pack_zip else tmp_path / "shard.tar", members)
    source = next(tmp_path.glob("shard.*"))
    expected = {
        "000.png": {"caption": "zero", "label": 3, "key": "000"},
        "001.seg.png": {"caption": "eins ä"},
    }
    assert night(source) == expected
    members["train/000.txt"] = b"nought"
    pack(source, members)
    os.utime(source, ns=(1, 1))
    assert night(source) == {**expected, "000.png": {**expected["000.png"], "caption": "nought"}}


def test_an_archive_that_was_listed_without_is_listed_again(night: Night, tmp_path: Path) -> None:
    """What came with images is asked for: archives of before are listed anew, and no image is read for that."""
    pack_tar(tmp_path / "s.tar", {"000.png": content(1), "000.txt": b"zero"})
    assert night(tmp_path / "s.tar", beside=False) == {"000.png": {}}
    assert night.ledger.beside.is_empty()
    assert night(tmp_path / "s.tar") == {"000.png": {"caption": "zero"}}
    assert list(night.ledger.worklist.images(night.scan.number, lambda row: row is None)) == []


def test_other_columns_of_parquet(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, texts, times, lists and structs are kept as columns can keep them; bytes are left out, and told."""
    images = [{"bytes": content(n), "path": f"{n}.png"} for n in range(3)]
    table = {
        "image": images, "caption": ["a", None, ""], "label": [1, 2, None], "ok": [True, False, None],
        "score": [0.5, float("nan"), 2.0], "when": pa.array([1, 2, None], pa.timestamp("ns")),
        "day": pa.array([1, None, None], pa.date32()), "tags": [["x"], [], None], "at": [{"x": 1}, None, None],
        "path": ["p", "q", "r"], "a.b": [1, 2, 3], "raw": [b"x", b"y", b"z"],
    }  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "d.parquet", row_group_size=2)
    said = night(tmp_path / "d.parquet")
    assert said["0.png"] == {
        "caption": "a", "label": 1, "ok": 1, "score": 0.5, "when": "1970-01-01 00:00:00.000", "day": "1970-01-02 00:00:00.000", "tags": '["x"]',
        "at": '{"x": 1}', "parquet_path": "p", "a_b": 1,
    }  # fmt: skip
    assert said["1.png"] == {"label": 2, "ok": 0, "when": "1970-01-01 00:00:00.000", "parquet_path": "q", "a_b": 2}
    assert said["2.png"] == {"score": 2.0, "parquet_path": "r", "a_b": 3}
    assert [told.rpartition(": ")[2] for told in night.report.told] == ["raw"]
    assert night.report.read == 3
    monkeypatch.setattr(beside, "said_of_row", pytest.fail)
    assert night(tmp_path / "d.parquet") == said
    assert night.changed == []


def test_takeout(night: Night, put: Put) -> None:
    """Google Takeout's JSON is matched by the names that it really has."""
    long = "IMG_20230101_123456789_HDR_PORTRAIT_AND_MORE_OF_IT"

    def told(title: str) -> dict[str, Any]:
        return {
            "title": title, "description": title.upper(), "photoTakenTime": {"timestamp": "1700000000"},
            "geoData": {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0}, "url": f"https://photos/{title}",
            "people": [{"name": "Ann"}],
        }  # fmt: skip

    folder = put(**{
        "a.jpg": None, "a.jpg.json": told("a"), "a-edited.jpg": None, "a(1).jpg": None, "a.jpg(1).json": told("a1"),
        "b.jpg": None, "b.jpg.supplemental-metadata.json": told("b"), "c.jpg": None, "c.jpg.supplemental-me.json": told("c"),
        "d(2).jpg": None, "d.jpg.supplemental-metadata(2).json": told("d2"), f"{long}.jpg": None,
        f"{long[:46]}.json": told("long"), "e-bearbeitet.jpg": None, "e.jpg.json": told("e"),
    })  # fmt: skip
    said = night(folder)
    assert {name: values.get("title") for name, values in said.items()} == {
        "a.jpg": "a", "a-edited.jpg": "a", "a(1).jpg": "a1", "b.jpg": "b", "c.jpg": "c", "d(2).jpg": "d2",
        f"{long}.jpg": "long", "e-bearbeitet.jpg": "e",
    }  # fmt: skip
    assert said["a.jpg"] == {
        "title": "a", "caption": "A", "takeout_taken_at": "2023-11-14T22:13:20.000", "favorited": 0, "people": '["Ann"]',
        "url": "https://photos/a",
    }  # fmt: skip


def test_what_cannot_be_read_costs_itself(night: Night, put: Put, reads: list[str]) -> None:
    """Cut JSON, texts that are none, a sparse file of a gigabyte, a bomb of entities, pipes and loops of links: each is
    counted and named, or no companion at all, and the others are read."""
    folder = put(**{
        "cut.png": None, "cut.json": '{"a": 1, "b": [', "utf8.png": None, "utf8.json": b'{"a": "\xff\xfe"}',
        "huge.png": None, "bomb.png": None, "bomb.xmp": BOMB, "pipe.png": None, "loop.png": None, "ok.png": None,
        "ok.txt": "fine", "zeros.png": None, "zeros.txt": b"\0" * 100, "empty.png": None, "empty.txt": b"",
        "shut.png": None, "shut.txt": "shut", "deep.png": None, "deep.json": '{"a":' + "[" * 100_000,
    })  # fmt: skip
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(1 << 30)
    os.mkfifo(folder / "pipe.txt")
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    said = night(folder)
    assert {name: values for name, values in said.items() if values} == {
        "ok.png": {"caption": "fine"}, "shut.png": {"caption": "shut"},
    }  # fmt: skip
    named = {example.partition(": ")[0].rpartition("/")[2] for example in night.report.examples}
    assert night.report.unreadable == 6
    assert named <= {
        "cut.json",
        "utf8.json",
        "huge.txt",
        "bomb.xmp",
        "zeros.txt",
        "deep.json",
    }
    reads.clear()
    assert night(folder) == said
    assert (reads, night.report.unreadable, night.changed) == ([], 6, [])


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<x:xmpmeta xmlns:x="adobe:ns:meta/">&b;</x:xmpmeta>"""


def test_the_deadline_leaves_the_rest(night: Night, put: Put, reads: list[str]) -> None:
    """What was not read in time waits for the next run, and is named."""
    folder = put(**{"a.png": None, "a.txt": "a"})
    scan_sources(night.ledger, [str(folder)], beside=True)
    report = read_beside(night.ledger, deadline=1.0)
    assert (report.read, report.left, reads) == (0, 1, [])
    assert "deadline" in report.examples[0]
    assert night(folder) == {"a.png": {"caption": "a"}}


def test_an_image_that_is_called_like_a_text_is_one(night: Night, put: Put) -> None:
    """What a file holds decides, not its name."""
    folder = put(**{"a.txt": content(1), "b.png": None, "b.txt": "b"})
    assert night(folder) == {"a.txt": {}, "b.png": {"caption": "b"}}
    assert night(folder) == {"a.txt": {}, "b.png": {"caption": "b"}}


def test_a_companion_that_hangs_is_left(
    night: Night, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs itself and, until it answers, others of its source; other sources are read. It says what it said."""
    folder = put(**{"a.png": None, "a.txt": "a", "b.png": None, "b.txt": "b", "c.png": None, "c.txt": "c"})
    other = tmp_path / "other"
    other.mkdir()
    (other / "d.png").write_bytes(content(4))
    (other / "d.txt").write_text("d")
    night(folder)
    put(**{"b.txt": "new", "c.txt": "new"})
    answers, read = Event(), beside.read_image

    def hang(file: Any, *, max_bytes: int) -> bytes:
        if file.path == "b.txt":
            answers.wait()
        return read(file, max_bytes=max_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(beside, "read_image", hang)
        patch.setattr(calls, "SILENT_SECONDS", 2.0)
        said = night(folder, other)
    assert said == {
        "a.png": {"caption": "a"},
        "b.png": {"caption": "b"},
        "c.png": {"caption": "c"},
        "d.png": {"caption": "d"},
    }
    assert [Path(hang.what).name for hang in night.report.hung] == ["b.txt"]
    assert (night.report.read, night.report.left) == (1, 2)
    answers.set()
    assert night(folder, other)["b.png"] == {"caption": "new"}


def test_members_that_are_gone_say_nothing_any_more(night: Night, tmp_path: Path) -> None:
    """An archive that is written anew without its texts takes their values along; one that is gone, or cut off, none."""
    members = {"0.png": content(0), "0.txt": b"zero", "1.png": content(1), "1.txt": b"one"}
    source = tmp_path / "s.tar"
    pack_tar(source, members)
    night(source)
    whole = source.read_bytes()
    source.write_bytes(whole[:1500])
    assert night(source) == {"0.png": {"caption": "zero"}, "1.png": {"caption": "one"}}
    del members["1.txt"]
    pack_tar(source, members)
    assert night(source) == {"0.png": {"caption": "zero"}, "1.png": {}}


def test_takeout_in_a_zip(night: Night, tmp_path: Path) -> None:
    """As it is downloaded."""
    told = {"title": "a.jpg", "photoTakenTime": {"timestamp": "1"}, "favorited": True}
    folder = "Takeout/Google Fotos/2023"
    pack_zip(
        tmp_path / "takeout.zip",
        {f"{folder}/a-edited.jpg": content(1), f"{folder}/a.jpg.supplemental-metada.json": json.dumps(told).encode()},
    )
    assert night(tmp_path / "takeout.zip")["a-edited.jpg"]["favorited"] == 1


def test_ledgers_from_before_get_the_tables(night: Night, put: Put, tmp_path: Path) -> None:
    """A ledger without them is whole, and is asked and written as if it had never had any."""
    folder = put(**{"a.png": None, "a.txt": "a"})
    before = night(folder)
    for name in ("beside", "said"):
        night.ledger.database.write(f"DROP TABLE {name}")
    assert list(night.ledger.check()) == []
    night.ledger.close()
    with Ledger(tmp_path / "store") as ledger:
        assert ledger.beside.is_empty()
        assert Night(ledger)(folder) == before


def test_many_of_one_beginning(night: Night, put: Put) -> None:
    """Numbered pictures each find their own text, whatever else begins like them."""
    numbers = [*range(1, 30), *range(100, 130)]
    folder = put(**{f"f.{n}.png": None for n in numbers}, **{f"f.{n}.png.json": {"n": n} for n in numbers})
    assert night(folder) == {f"f.{n}.png": {"n": n} for n in numbers}


def test_copies_of_one_content(night: Night, tmp_path: Path) -> None:
    """What is said where the store has a picture counts first, then what is said of copies by their paths."""
    name = "x" * 40  # contents are told by the ends of paths here
    for folder, texts in {"p": {"txt": "first", "json": '{"n": 1}'}, "q": {"txt": "second", "cls": "5"}}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.png").write_bytes(content(1))
        for kind, text in texts.items():
            (tmp_path / folder / f"{name}.{kind}").write_text(text)
    assert night(tmp_path / "p", tmp_path / "q") == {f"{name}.png": {"caption": "first", "n": 1, "label": 5}}
    second = [(0, os.fsencode(tmp_path / "q" / f"{name}.png"))]
    assert dict(night.ledger.beside.of_rows(second)) == {0: {"caption": "second", "n": 1, "label": 5}}
    (tmp_path / "p" / f"{name}.png").unlink()
    (tmp_path / "p" / "other.png").write_bytes(content(2))
    night(tmp_path / "p", tmp_path / "q")
    assert night.changed == [0, 1]
    assert dict(night.ledger.beside.of_rows(second)) == {0: {"caption": "second", "label": 5}}
