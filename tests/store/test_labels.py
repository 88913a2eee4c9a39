"""Labels that people give: nothing of two at once is lost, a file is whole or what it was, what is odd stays text."""

from __future__ import annotations

import csv
import multiprocessing
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store import durable, labels
from pixelmill.store.backup import backup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.labels import MOST_NAMES, LabelFile, LabelRefused, names
from tests.support.media import mounted_read_only
from tests.support.stores import provenance, record_files, sha256, shard_rows

ODD = '"Krähe", 烏;\t=1+1'


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "store") as writer:
        record_files(writer, range(4))
        writer.commit(shard_rows(range(4), [writer.matrix(provenance("a"), "float32")]))
    return tmp_path / "store"


def some(*numbers: int) -> dict[bytes, str]:
    return {sha256(number): f"/photos/{number}, \\udcff.png" for number in numbers}


def test_labels_are_given_changed_and_taken_away(store: Path) -> None:
    """What changed is counted; a file without labels goes; each line names its picture, and where it lay."""
    animal = LabelFile(store, "animal")
    assert animal.give("cat", some(0, 1, 2)) == 3
    assert animal.give("cat", some(1)) == 0
    assert animal.give(f"  {ODD}\n", some(1)) == 1
    assert animal.give(None, some(2, 3)) == 1
    told = " ".join(ODD.split())
    assert animal.values() == {sha256(0): "cat", sha256(1): told}
    with animal.path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert lines[1] == {"sha256": sha256(1).hex(), "animal": told, "path": some(1)[sha256(1)]}
    assert names(store) == ["animal"]
    assert animal.give(None, some(0, 1)) == 2
    assert (animal.values(), names(store)) == ({}, [])


@pytest.mark.parametrize("name", ["", "Animal", "1st", "../animal", "a/b", "a.csv", "ä", "a\0", "a" * 41, "a\n"])
def test_a_name_is_a_column_and_no_path(name: str, store: Path) -> None:
    """Of a file that could lie elsewhere nothing is asked."""
    with pytest.raises(LabelRefused, match="Expected a name of small letters"):
        LabelFile(store, name)


@pytest.mark.parametrize("value", ["", " \n", "a" * 257, "a\0", "a\x1b[2J", "\ud800"])
def test_what_is_no_label_is_refused(value: str, store: Path) -> None:
    """Nothing, too much, control characters, halves of letters."""
    with pytest.raises(LabelRefused, match="Expected a label of 1 to 256 letters"):
        LabelFile(store, "animal").give(value, some(0))
    assert names(store) == []


def test_two_spellings_of_a_letter_are_one(store: Path) -> None:
    """As composed; a family of emoji and words from right to left are labels as others are."""
    animal = LabelFile(store, "animal")
    animal.give("pinc\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}", some(0))
    assert animal.give("pinc\N{LATIN SMALL LETTER E WITH ACUTE}", some(0)) == 0
    for label in ("👩\u200d👩\u200d👧", "חתול"):
        animal.give(label, some(0))
        assert animal.values() == {sha256(0): label}


def _give(store: Path, number: int) -> None:
    LabelFile(store, "animal").give(f"of {number}", some(number))


def test_of_many_at_once_nothing_is_lost(store: Path) -> None:
    """From threads and processes, each another picture."""
    context = multiprocessing.get_context("fork")
    ways = [context.Process, threading.Thread]
    at_once: list[Any] = [ways[number % 2](target=_give, args=(store, number)) for number in range(24)]
    for one in at_once:
        one.start()
    for one in at_once:
        one.join()
    assert LabelFile(store, "animal").values() == {sha256(number): f"of {number}" for number in range(24)}


@pytest.mark.parametrize("step", ["write_new", "put_in_place"])
def test_a_write_that_fails_leaves_what_was(step: str, store: Path) -> None:
    """A full disk, or whatever else: the labels of before, and nothing beside them."""
    animal = LabelFile(store, "animal")
    animal.give("cat", some(0))
    with (
        mock.patch.object(durable, step, side_effect=OSError(28, "No space left on device")),
        pytest.raises(StoreError, match="free space"),
    ):
        animal.give("dog", some(0, 1))
    assert animal.values() == {sha256(0): "cat"}
    assert sorted(file.name for file in animal.path.parent.iterdir()) == [".lock", "animal.csv"]


@pytest.mark.parametrize("text", ["", "path,animal\na.jpg,cat\n", "sha256,animal,path\nab,cat,\n", "sha256,animal,path\n\"\n", "\xff"])  # fmt: skip
def test_a_file_of_others_is_not_written_over(text: str, store: Path) -> None:
    """It is named, and stays as it is."""
    animal = LabelFile(store, "animal")
    animal.path.parent.mkdir()
    animal.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreDamaged, match=r"animal\.csv the labels as the gallery writes them"):
        animal.give("cat", some(0))
    assert animal.path.read_bytes() == text.encode("latin-1")


def test_there_are_so_many_names(store: Path) -> None:
    """One more is refused; those that are there go on."""
    for number in range(MOST_NAMES):
        LabelFile(store, f"name_{number}").give("x", some(0))
    with pytest.raises(LabelRefused, match="at most 32 labels"):
        LabelFile(store, "another").give("x", some(0))
    assert LabelFile(store, "name_0").give("y", some(0)) == 1


def test_media_that_cannot_be_written_are_told(store: Path, tmp_path: Path) -> None:
    """In words, and labels that are there can be read."""
    LabelFile(store, "animal").give("cat", some(0))
    with mounted_read_only(store, tmp_path / "media") as there:
        animal = LabelFile(there, "animal")
        assert animal.values() == {sha256(0): "cat"}
        with pytest.raises(StoreError, match="cannot be written"):
            animal.give("dog", some(0))


def test_a_backup_has_the_labels_of_its_store(store: Path, tmp_path: Path) -> None:
    """Also one that is brought up to date: those that are gone go there, too."""
    LabelFile(store, "animal").give("cat", some(0))
    LabelFile(store, "keep").give("no", some(1))
    backup(store, tmp_path / "backup")
    LabelFile(store, "keep").give(None, some(1))
    LabelFile(store, "animal").give("dog", some(1))
    assert names(tmp_path / "backup") == ["animal", "keep"]
    backup(store, tmp_path / "backup")
    assert {name: LabelFile(tmp_path / "backup", name).values() for name in names(tmp_path / "backup")} == {
        "animal": {sha256(0): "cat", sha256(1): "dog"}
    }
    assert labels.FOLDER in {file.name for file in (tmp_path / "backup").iterdir()}
