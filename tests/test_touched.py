"""Files that wait to be read again lose nothing: not their path, not their place in search, whatever run ends first."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

import h5py
import pytest

from pixelmill.report.model import RunReport
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.scan import scan_sources
from pixelmill.run.steps import run
from pixelmill.store.commit import StoreWriter
from pixelmill.store.contents import Contents
from pixelmill.store.reader import Store
from pixelmill.store.readonly import open_read_only
from pixelmill.store.verify import repair, verify
from tests.support.crash import Crash
from tests.support.models import spec_of
from tests.support.numbered import content

NAMES = ["a.png", "b.png", "sub/c.png"]
OVER = 1.0
"""A deadline that has been over for long: the run looks at the sources, reads nothing and publishes."""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run over three pictures in `photos` that has been done once; there is an empty folder `other` beside it."""
    for number, name in enumerate(NAMES):
        write(tmp_path / "photos" / name, number)
    (tmp_path / "other").mkdir()
    (tmp_path / "weights").write_bytes(b"weights")
    made = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", max_pixels=10**8, max_aspect=100.0,
        max_bytes=10**8, batch_size=2, shard_size=2, threads=1,
    )  # fmt: skip
    assert run(made).images.new == len(NAMES)
    return made


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(number))


def photo(job: Job, name: str) -> Path:
    return Path(job.sources[0]) / name


def cut_off(job: Job) -> RunReport:
    return run(job.model_copy(update={"deadline": OVER}))


def of_other(job: Job) -> RunReport:
    """A whole run over the other folder."""
    return run(job.model_copy(update={"sources": (str(Path(job.sources[0]).parent / "other"),)}))


def killed(job: Job) -> None:
    """A run that dies when it has seen the sources."""
    with StoreWriter(job.store) as writer:
        scan_sources(writer.ledger, job.sources)


def killed_before_another(job: Job) -> None:
    killed(job)
    of_other(job)


def paths(job: Job) -> list[str]:
    """The published path of each row, as plain h5py reads it."""
    with h5py.File(job.store / "vectors.h5") as file:
        return [os.fsdecode(path) for path in file["images/path"][:]]


def counts(report: RunReport) -> dict[str, int]:
    """What happened to files, without what did not."""
    kinds = ("new", "changed", "moved", "duplicate", "removed")
    return {kind: count for kind in kinds if (count := getattr(report.images, kind))}


def newer(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        os.utime(file)


def older(folder: Path) -> None:
    """As a backup that is put back, or rsync without -t the other way round."""
    for file in folder.rglob("*.png"):
        os.utime(file, ns=(10**18, 10**18))


def other_mode(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.chmod(0o640)


def put_back(folder: Path) -> None:
    """From a copy: other inodes and times."""
    copy = folder.with_name("backup")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)


@pytest.mark.parametrize("touch", [newer, older, other_mode, put_back])
@pytest.mark.parametrize("end", [cut_off, killed_before_another])
def test_a_touched_file_loses_nothing(job: Job, touch: Callable[[Path], None], end: Callable[[Job], object]) -> None:
    """Times change, bytes do not, and a publish comes before the files are read again: every row keeps its path and is
    seen by readers. The night that reads them tells nothing, for nothing happened, and makes no vector."""
    touch(Path(job.sources[0]))
    end(job)
    assert paths(job) == NAMES
    assert len(Store(job.store)["one"].rows) == len(NAMES)
    report = run(job)
    assert (counts(report), report.models["one"].embedded, report.models["one"].pending) == ({}, 0, 0)
    assert paths(job) == NAMES
    assert verify(job.store) == []


def test_what_waits_is_pending_and_counts_once(job: Job) -> None:
    """A run that was cut off says how many wait; they are not new, removed or changed, and are covered as before."""
    newer(Path(job.sources[0]))
    report = cut_off(job)
    assert (counts(report), report.models["one"].pending) == ({}, len(NAMES))
    assert report.coverage == {"vectors/one": 1.0}
    with open_read_only(job.store) as ledger:
        assert ledger.contents.unread() == 0
        assert sorted(place.row for place in ledger.contents.places_modified(0, 2**62)) == [0, 1, 2]


def test_another_run_that_ends_meanwhile_takes_nothing(job: Job) -> None:
    """While a run over one folder has just begun, one over another folder publishes: nothing is lost, then or later."""
    newer(Path(job.sources[0]))
    with StoreWriter(job.store) as writer:
        scan_sources(writer.ledger, job.sources)
        write(Path(job.sources[0]).parent / "other" / "new.png", 4)
        assert counts(of_other(job)) == {"new": 1}
        assert paths(job) == [*NAMES, "new.png"]
    assert counts(run(job)) == {}
    assert paths(job) == [*NAMES, "new.png"]


def test_what_really_changed_is_gone_once_it_is_read(job: Job) -> None:
    """Other bytes at a known path: until they are read the row keeps the path; then it is gone, and told of once."""
    write(photo(job, "b.png"), 4)
    assert counts(cut_off(job)) == {}
    assert paths(job) == NAMES
    assert counts(run(job)) == {"changed": 1}
    assert paths(job) == ["a.png", "", "sub/c.png", "b.png"]


def test_a_file_that_was_emptied_is_gone_once_it_is_read(job: Job) -> None:
    """The same for one that is refused before anything is known of its content."""
    photo(job, "b.png").write_bytes(b"")
    cut_off(job)
    assert paths(job) == NAMES
    assert counts(run(job)) == {"changed": 1}
    assert paths(job) == ["a.png", "", "sub/c.png"]


def test_a_file_deleted_among_touched_ones_is_gone_at_once(job: Job) -> None:
    """Those that were touched wait for themselves: what is not there is told, and has no path any more."""
    newer(Path(job.sources[0]))
    photo(job, "b.png").unlink()
    assert counts(cut_off(job)) == {"removed": 1}
    assert paths(job) == ["a.png", "", "sub/c.png"]
    assert counts(run(job)) == {}


def test_a_file_touched_and_then_deleted_is_gone(job: Job) -> None:
    """One that waited to be read, and is not there when the next run looks."""
    newer(Path(job.sources[0]))
    cut_off(job)
    photo(job, "b.png").unlink()
    assert counts(cut_off(job)) == {"removed": 1}
    assert paths(job) == ["a.png", "", "sub/c.png"]


@pytest.mark.parametrize("touch", [lambda folder: None, newer])
def test_a_move_that_is_not_read_yet_loses_nothing(job: Job, touch: Callable[[Path], None]) -> None:
    """`mv`, with or without a touch: what is gone may be what waits at the new place. It keeps its path until that is
    read, and counts as moved then, never as removed."""
    photo(job, "sub").rename(photo(job, "moved"))
    touch(photo(job, "moved"))
    assert counts(cut_off(job)) == {}
    assert paths(job) == NAMES
    assert counts(run(job)) == {"moved": 1}
    assert paths(job) == ["a.png", "b.png", "moved/c.png"]


def test_a_move_over_another_file_that_is_not_read_yet(job: Job) -> None:
    """`mv a.png b.png`: b waits, with the size and times of a. Both rows keep their path until it is read; then that of
    b is gone."""
    photo(job, "a.png").replace(photo(job, "b.png"))
    assert counts(cut_off(job)) == {}
    assert paths(job) == NAMES
    run(job)
    assert paths(job) == ["b.png", "", "sub/c.png"]


def test_what_only_looked_moved_is_told_as_removed(job: Job) -> None:
    """A new file of the size of one that is gone: when it is read and is another, the one that is gone is told of."""
    other = content(4)
    photo(job, "b.png").write_bytes(other.ljust(2000, b"\0"))
    run(job)
    photo(job, "b.png").unlink()
    photo(job, "z.png").write_bytes(content(3).ljust(2000, b"\0"))
    assert counts(cut_off(job)) == {}
    assert paths(job)[3] == "b.png"
    assert counts(run(job)) == {"new": 1, "removed": 1}
    assert paths(job)[3:] == ["", "z.png"]


def test_of_copies_the_one_that_was_not_touched_is_shown(job: Job) -> None:
    """A content with two files, of which the published one waits: the other certainly holds it."""
    shutil.copy2(photo(job, "a.png"), photo(job, "z.png"))
    assert counts(run(job)) == {"duplicate": 1}
    os.utime(photo(job, "a.png"))
    assert counts(cut_off(job)) == {}
    assert paths(job) == ["z.png", "b.png", "sub/c.png"]
    assert counts(run(job)) == {}


def test_a_copy_of_what_waits_is_a_duplicate(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new copy is read, the newest first, while the file that it is a copy of still waits: it has not moved."""
    shutil.copy2(photo(job, "a.png"), photo(job, "z.png"))
    os.utime(photo(job, "z.png"), ns=(2 * 10**18, 2 * 10**18))
    os.utime(photo(job, "a.png"), ns=(10**18, 10**18))
    asked = iter([False, False])
    monkeypatch.setattr("pixelmill.run.worker.past", lambda _deadline: next(asked, True))
    assert counts(run(job.model_copy(update={"deadline": 1e12, "batch_size": 1}))) == {"duplicate": 1}


def test_members_of_a_touched_archive_lose_nothing(job: Job, tmp_path: Path) -> None:
    """An archive written anew with the same members: each waits, and keeps its path."""
    archive = tmp_path / "other" / "more.tar"

    def pack() -> None:
        with tarfile.open(archive, "w") as tar:
            for number, name in enumerate(NAMES):
                write(tmp_path / "scratch" / name, number + 2)
                tar.add(tmp_path / "scratch" / name, name)

    pack()
    of_archive = job.model_copy(update={"sources": (str(archive),)})
    run(of_archive)
    before = paths(job)
    pack()
    os.utime(archive, ns=(10**18, 10**18))
    assert cut_off(of_archive).models["one"].pending == 3
    assert paths(job) == before
    assert counts(run(of_archive)) == {}
    assert paths(job) == before


def test_the_old_generation_is_served_while_touched_files_wait(job: Job) -> None:
    """New weights, touched files, and a deadline: the new generation would lack what may still be there."""
    newer(Path(job.sources[0]))
    Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(b"second")
    cut_off(job)
    before = Store(job.store)["one"]
    assert len(before.rows) == len(NAMES)
    run(job)
    after = Store(job.store)["one"]
    assert len(after.rows) == len(NAMES)
    assert after.provenance.weights_sha256 != before.provenance.weights_sha256


def test_a_lost_ledger_and_a_deadline_lose_nothing(job: Job) -> None:
    """A ledger made anew from the master knows no times: every file waits to be read, and keeps its path."""
    for file in job.store.glob("ledger.sqlite*"):
        file.unlink()
    repair(job.store)
    cut_off(job)
    assert paths(job) == NAMES
    assert counts(run(job)) == {}
    assert paths(job) == NAMES


def test_what_was_refused_stays_in_the_list(job: Job) -> None:
    """A picture in quarantine that was touched and waits is listed still: nothing says that it is mended."""
    write(photo(job, "broken.png"), 5)
    run(job)
    newer(Path(job.sources[0]))
    report = cut_off(job)
    assert (report.images.quarantined, report.models["one"].pending) == (0, 4), "each image counts once"
    with open_read_only(job.store) as ledger:
        assert [Path(entry.path).name for entry in ledger.quarantine.entries()] == ["broken.png"]
    assert run(job).images.quarantined == 1


def test_a_vector_stored_just_before_a_kill_keeps_its_path(job: Job) -> None:
    """A changed file is embedded and published; the process dies before the ledger knows. Another run publishes, then
    the file is read again: its new row has its path all the time."""
    write(photo(job, "b.png"), 4)
    with mock.patch.object(Contents, "record_rows", side_effect=Crash), pytest.raises(Crash):
        run(job)
    assert len(Store(job.store)) == len(NAMES) + 1
    assert counts(of_other(job)) == {}
    assert paths(job) == ["a.png", "", "sub/c.png", "b.png"]
    assert counts(run(job)) == {"changed": 1}
    assert paths(job) == ["a.png", "", "sub/c.png", "b.png"]


@pytest.mark.parametrize("read_since", [False, True])
def test_paths_lost_by_older_programs_come_back(job: Job, read_since: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger without the list of what is in doubt, whose files waited at a publish, or have been read since and have
    no path all the same: the next run that publishes gives them back."""
    newer(Path(job.sources[0]))
    killed(job)
    with closing(sqlite3.connect(job.store / "ledger.sqlite")) as database, database:
        for trigger in ("content_in_doubt", "content_known", "doubt_left", "refused_unread", "file_forgotten"):
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("DELETE FROM held")
    with monkeypatch.context() as older:
        older.setattr("pixelmill.store.schema._require_schema", lambda _: None)
        with StoreWriter(job.store) as writer:
            writer.update_locations(writer.ledger.changes().stale_rows)
            writer.ledger.settle()
    assert paths(job) == ["", "", ""], "as it was before"
    with closing(sqlite3.connect(job.store / "ledger.sqlite")) as database, database:
        database.execute("DROP TABLE held")
        if read_since:
            database.execute("UPDATE files SET row = previous_row, unsettled = 0, previous_row = NULL")
    with open_read_only(job.store) as ledger:
        assert ledger.contents.live_rows(3).all(), "a reader follows the rule before a writer has been there"
        assert ledger.contents.unread() == 0
    of_other(job)
    assert paths(job) == NAMES
    assert counts(run(job)) == {}
