"""A dry run tells what a run would do, and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.report.model import DryRunReport
from pixelmill.run import steps
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.preflight import check
from pixelmill.run.scan import scan_sources
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from tests.conftest import SavePicture
from tests.support.media import as_stranger, mounted_read_only, without_permission
from tests.support.models import spec_of

IMAGES = 6


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run over six pictures, done once; then one came, one was changed and one was deleted."""
    monkeypatch.setattr("pixelmill.run.throughput.gflops", lambda _spec: 1.0)
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / f"{seed}.png", seed, (16, 16))
    (tmp_path / "weights").write_bytes(b"weights")
    job = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
    )  # fmt: skip
    steps.run(job)
    save_picture(tmp_path / "photos" / "new.png", 100, (16, 16))
    save_picture(tmp_path / "photos" / "0.png", 101, (16, 16))
    (tmp_path / "photos" / "1.png").unlink()
    return job


def all_of(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Bytes, mode and time of modification of everything below a folder, and of itself."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        stat = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = content, stat.st_mode, stat.st_mtime_ns
    return found


def told(report: DryRunReport) -> tuple[int, int]:
    return report.images.seen, report.models["one"].pending


def previewed(job: Job) -> DryRunReport:
    """What the command does."""
    check(job, writes=False)
    return steps.preview(job)


@pytest.fixture(params=["at rest", "open", "left by a killed writer", "without a ledger"])
def state(request: pytest.FixtureRequest, job: Job) -> Iterator[str]:
    """In which state a dry run may find a store: SQLite's files lie beside the ledger of one that is open, and of one
    whose writer was killed."""
    if request.param == "open":
        with StoreWriter(job.store) as writer:
            writer.ledger.is_empty()
            yield request.param
    elif request.param == "left by a killed writer":
        with Ledger(job.store) as ledger:
            ledger.runs.notify("This is in the log alone.")
            kept = {path: path.read_bytes() for path in job.store.glob("ledger.sqlite*")}
        for path, content in kept.items():
            path.write_bytes(content)
        assert any(path.name.endswith("-wal") and content for path, content in kept.items())
        yield request.param
    else:
        if request.param == "without a ledger":
            for path in job.store.glob("ledger.sqlite*"):
                path.unlink()
        yield request.param


def test_it_changes_no_byte_and_no_time_of_a_store(job: Job, state: str) -> None:
    """Whatever lies there; nothing is marked as gone, and the run that follows finds and tells all of it."""
    before = all_of(job.store)
    assert told(previewed(job)) == (IMAGES, 2 if state != "without a ledger" else IMAGES)
    assert all_of(job.store) == before
    if state == "at rest":
        report = steps.run(job)
        assert (report.images.new, report.images.changed, report.images.removed) == (1, 1, 1)


def test_it_reads_read_only_media(job: Job, tmp_path: Path) -> None:
    """On a file system that is mounted read-only."""
    with mounted_read_only(job.store, tmp_path / "mounted") as store:
        assert told(previewed(job.model_copy(update={"store": store}))) == (IMAGES, 2)


def test_it_reads_a_store_that_belongs_to_somebody_else(job: Job) -> None:
    """By a user who may not write to it, nor to its folder."""
    with without_permission(job.store) as store:
        theirs = job.model_copy(update={"store": store})
        for path in (store.parents[0], *Path(job.sources[0]).parents):
            if path.stat().st_mode & 0o055 != 0o055:
                path.chmod(path.stat().st_mode | 0o055)
        assert as_stranger(lambda: told(previewed(theirs))) == (IMAGES, 2)


def test_a_store_that_does_not_exist_is_not_made(job: Job) -> None:
    """All of its images would be embedded."""
    nowhere = job.model_copy(update={"store": job.store.parent / "nowhere"})
    assert told(previewed(nowhere)) == (IMAGES, IMAGES)
    assert not nowhere.store.exists()


def test_it_copies_beside_a_writer_that_never_rests(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger changes whenever it is looked at, SQLite copies it between two transactions."""
    monkeypatch.setattr("pixelmill.store.ledger_copy._copied_at_rest", lambda *_: False)
    monkeypatch.setattr("pixelmill.store.ledger_copy._WAIT", 0.0)
    with StoreWriter(job.store) as writer:
        scan_sources(writer.ledger, job.sources)
        assert told(previewed(job)) == (IMAGES, 2)


def test_a_ledger_that_cannot_be_used_is_named(job: Job) -> None:
    """By its own path, not by that of its copy."""
    shutil.copyfile(job.store / "vectors.h5", job.store / "ledger.sqlite")
    with pytest.raises(StoreError, match=rf"{job.store}/ledger.sqlite cannot be used.*pixelmill repair {job.store}"):
        previewed(job)
