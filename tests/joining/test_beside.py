"""What came with pictures becomes columns, together with tables: real runs over real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pixelmill.joining.columns import joined_columns
from pixelmill.joining.table import Table
from pixelmill.report.markdown import as_markdown
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.models import spec_of
from tests.support.numbered import OTHERS, content


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name, number in zip("abc", OTHERS, strict=False):
        (tmp_path / "photos" / f"{name}.png").write_bytes(content(number))
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path: Path, photos: Path) -> Job:
    (tmp_path / "weights").write_bytes(b"weights")
    return Job(
        sources=(str(photos),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        facts=False,
    )  # fmt: skip


def column(job: Job, name: str) -> dict[str, object]:
    """The values of a column by the first letter of the file."""
    store = Store(job.store)
    return {path.decode()[:1]: value for path, value in zip(store.paths, store.columns[name], strict=True)}


def test_captions_become_a_column(job: Job, photos: Path) -> None:
    """New, corrected and taken away: each run brings it up to date; a night without changes publishes nothing."""
    (photos / "a.txt").write_text("a dog")
    (photos / "b.json").write_text(json.dumps({"label": "cat", "n": 3}))
    report = run(job)
    assert column(job, "caption") == {"a": "a dog", "b": "", "c": ""}
    assert column(job, "n")["b"] == 3
    assert (report.columns.rows, report.columns.beside.read) == (2, 2)
    assert set(report.columns.new) == {"caption", "label", "n"}
    assert "Texts and objects beside pictures: 2 read." in as_markdown(report)
    revision = Store(job.store).manifest.revision
    assert "## Columns" not in as_markdown(run(job))
    assert Store(job.store).manifest.revision == revision
    (photos / "a.txt").write_text("two dogs")
    (photos / "c.txt").write_text("a bird")
    assert run(job).columns.rows == 2
    assert column(job, "caption") == {"a": "two dogs", "b": "", "c": "a bird"}
    (photos / "a.txt").unlink()
    run(job)
    assert column(job, "caption") == {"a": "", "b": "", "c": "a bird"}
    assert verify(job.store) == []


def test_a_table_corrects_captions(job: Job, photos: Path, tmp_path: Path) -> None:
    """What a table says counts first; where it says nothing, what came with the picture; a table that is taken out of
    the settings leaves that."""
    for name in "ab":
        (photos / f"{name}.txt").write_text(f"caption of {name}")
    run(job)
    (tmp_path / "corrections.csv").write_text("path,caption,by\na.png,better,me\n")
    run(with_table := job.model_copy(update={"tables": (Table(path=str(tmp_path / "corrections.csv")),)}))
    assert column(job, "caption") == {"a": "better", "b": "caption of b", "c": ""}
    (photos / "c.txt").write_text("new")
    run(job)
    assert column(job, "caption")["a"] == "better"
    (photos / "b.txt").write_text("newer")
    run(with_table)
    assert column(job, "caption") == {"a": "better", "b": "newer", "c": "new"}
    (tmp_path / "corrections.csv").write_text("path,label\na.png,x\n")
    assert run(with_table).columns.dropped == ("by",)
    assert column(job, "caption")["a"] == "caption of a"


def test_one_value_of_another_kind(job: Job, photos: Path) -> None:
    """It costs itself, and is told with its picture; the column stays what it is."""
    for name in "ab":
        (photos / f"{name}.json").write_text(json.dumps({"n": 1}))
    run(job)
    (photos / "c.json").write_text(json.dumps({"n": "many"}))
    report = run(job)
    assert report.columns.beside.unfit == 1
    assert report.columns.beside.examples == ("c.png, n: expected a whole number, got 'many'",)
    assert column(job, "n") == {"a": 1, "b": 1, "c": np.iinfo(np.int64).min}


def test_two_copies_with_captions_of_their_own(job: Job, photos: Path) -> None:
    """The one that the store names counts; when it goes, the other's."""
    (photos / "z.png").write_bytes((photos / "a.png").read_bytes())
    (photos / "a.txt").write_text("first")
    (photos / "z.txt").write_text("other")
    run(job)
    assert column(job, "caption")["a"] == "first"
    (photos / "a.png").unlink()
    (photos / "a.txt").unlink()
    run(job)
    assert column(job, "caption")["z"] == "other"


def test_nothing_is_read_where_nobody_wants_it(job: Job, photos: Path) -> None:
    """`beside = false` leaves the store without captions; the first run that wants them gives all rows theirs. A store
    without any columns stays as it is until it is asked."""
    (photos / "a.txt").write_text("a dog")
    run(job.model_copy(update={"beside": False, "facts": False}))
    run(job)
    assert Store(job.store).manifest.format_version == 1
    run(job.model_copy(update={"beside": True}))
    assert column(job, "caption")["a"] == "a dog"


def test_more_names_than_there_is_room_for(job: Job, photos: Path) -> None:
    """The commonest 64 are columns, others are named; a later run does not look at all rows for them."""
    for at, name in enumerate("abc"):
        (photos / f"{name}.json").write_text(json.dumps({f"k{n:02}": n for n in range(40 * at, 40 * at + 80)}))
    report = run(job)
    assert (len(report.columns.new), len(report.columns.no_room)) == (64, 96)
    assert len(joined_columns(Store(job.store))) == 64
    (photos / "a.json").write_text(json.dumps({"other": 1, "k40": 7}))
    report = run(job)
    assert (report.columns.new, report.columns.no_room) == ((), ("other",))
    assert verify(job.store) == []


def test_what_lies_beside_pictures_keeps_no_table_out(job: Job, photos: Path, tmp_path: Path) -> None:
    """One JSON has filled the room of its kind, and a table is joined all the same; a night after that changes
    nothing."""
    (photos / "a.json").write_text(json.dumps({f"k{n:02}": n for n in range(80)}))
    assert len(run(job).columns.new) == 64
    (tmp_path / "labels.csv").write_text("path,label,k79\na.png,dog,5\n")
    job = job.model_copy(update={"tables": (Table(path=str(tmp_path / "labels.csv")),)})
    report = run(job)
    assert report.columns.new == ("label", "k79")
    assert (column(job, "label")["a"], column(job, "k79")["a"], column(job, "k00")["a"]) == ("dog", 5, 0)
    revision = Store(job.store).manifest.revision
    assert run(job).columns.new == ()
    assert Store(job.store).manifest.revision == revision
