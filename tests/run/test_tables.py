"""A run joins the tables of its settings, says so in its report, and does nothing on a night without changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from pixelmill.joining.table import Table
from pixelmill.report.markdown import as_markdown
from pixelmill.run.course import Course
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.steps import HERE, run
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.models import spec_of
from tests.support.numbered import OTHERS, content
from tests.support.s3 import S3


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three pictures, and a table of their labels."""
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    for name, number in zip("abc", OTHERS, strict=False):
        (tmp_path / "photos" / f"{name}.png").write_bytes(content(number))
    (tmp_path / "labels.csv").write_text("path,label\na.png,dog\nb.png,cat\nx.png,none\n")
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        facts=False,
        tables=(Table(path=str(tmp_path / "labels.csv")),),
    )  # fmt: skip


def labels(job: Job) -> dict[str, str]:
    store = Store(job.store)
    return {path.decode(): label for path, label in zip(store.paths, store.columns["label"], strict=True)}


def test_a_run_joins_tables(job: Job, tmp_path: Path) -> None:
    """New, moved and corrected: each run brings the columns up to date, and the report says what it did."""
    report = run(job)
    assert labels(job) == {"a.png": "dog", "b.png": "cat", "c.png": ""}
    assert (report.columns.rows, report.columns.new, report.columns.tables[0].unmatched) == (2, ("label",), 1)
    assert "2 rows with other values than before. New: label." in as_markdown(report)
    revision = Store(job.store).manifest.revision
    report = run(job)
    assert (report.columns.tables, Store(job.store).manifest.revision) == ((), revision)
    assert "## Columns" not in as_markdown(report)
    (tmp_path / "photos" / "c.png").rename(tmp_path / "photos" / "x.png")
    run(job)
    assert labels(job) == {"a.png": "dog", "b.png": "cat", "x.png": "none"}
    (tmp_path / "labels.csv").write_text("path,label\na.png,wolf\n")
    assert run(job).models["one"].embedded == 0
    assert labels(job) == {"a.png": "wolf", "b.png": "", "x.png": ""}
    assert verify(job.store) == []


def test_a_table_that_is_away_is_what_a_morning_looks_at(job: Job, tmp_path: Path) -> None:
    """The night goes on, its columns stay, and the report says which table it was, and why."""
    run(job)
    (tmp_path / "labels.csv").unlink()
    report = run(job)
    assert [line for line in report.attention if "labels.csv could not be read, and its columns stay" in line]
    assert labels(job)["a.png"] == "dog"


def test_a_run_that_dies_before_its_report_leaves_the_work_to_the_next(job: Job, tmp_path: Path) -> None:
    """What was joined is joined once more, as nobody settled the files; then all is at rest."""
    run(job)
    (tmp_path / "photos" / "x.png").write_bytes(content(OTHERS[5]))

    def dies(job: Job, course: Course) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, replace(HERE, report=dies))  # type: ignore[arg-type]
    report = run(job)
    assert report.columns.tables[0].lines == 3
    assert labels(job)["x.png"] == "none"
    assert run(job).columns.tables == ()


def test_a_table_at_an_address(job: Job, s3_server: S3) -> None:
    """It is read with the credentials of sources, and again when its etag changes."""
    buckets = fsspec.filesystem("s3")
    buckets.mkdir("tables")
    table = Table(path="s3://tables/labels.csv")
    buckets.pipe("tables/labels.csv", b"path,label\na.png,dog\n")
    at = job.model_copy(update={"tables": (table,)})
    run(at)
    assert labels(job)["a.png"] == "dog"
    assert run(at).columns.tables == ()
    assert s3_server.reads().count("/tables/labels.csv") == 1
    buckets.pipe("tables/labels.csv", b"path,label\na.png,cat\n")
    assert run(at).columns.rows == 1
    assert labels(job)["a.png"] == "cat"


def test_workers_are_told_of_no_table(job: Job) -> None:
    """Orders travel without them: only the run itself reads tables."""
    assert b"labels.csv" not in RunOrders(job, "store", 1).message()
