"""`--paranoid`: what looks unchanged is hashed again, and only what differs costs a model call."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from pixelmill.report.model import RunReport
from pixelmill.run import rehash as module
from pixelmill.run.job import Job
from pixelmill.run.scan import scan_sources
from pixelmill.run.steps import run
from pixelmill.sources import reading
from pixelmill.sources.local import digest_here
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from settings import load_settings
from settings.job import make_job
from tests.support.models import BlockMeans, spec_of
from tests.support.numbered import content

NAMES = ["a.png", "b.png", "c.png", "sub/d.png"]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run over four pictures that has been done once."""
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", (0.0,))
    for number, name in enumerate(NAMES):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(content(number).ljust(1000, b"\0"))
    (tmp_path / "weights").write_bytes(b"weights")
    made = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache={"cache_dir": tmp_path / "cache"}, precision="float32", max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    assert run(made).images.new == len(NAMES)
    return made


def paranoid(job: Job, **changes: Any) -> RunReport:
    return run(job.model_copy(update={"paranoid": True, **changes}))


def alter(job: Job, name: str, data: bytes) -> None:
    """Other bytes in a file, behind the ledger's back: size, mtime and ctime are those on record."""
    path = Path(job.sources[0], name)
    before = path.stat()
    path.write_bytes(data.ljust(1000, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with closing(sqlite3.connect(job.store / "ledger.sqlite")) as database, database:
        values = (path.stat().st_ctime_ns, os.fsencode(path))
        assert database.execute("UPDATE files SET ctime_ns = ? WHERE path = ?", values).rowcount == 1
    assert path.stat().st_size == before.st_size


def paths(job: Job) -> list[str]:
    """The published paths, by row."""
    return [os.fsdecode(path) for path in Store(job.store).paths]


def model_calls(job: Job, kind: Callable[[Job], RunReport]) -> tuple[int, RunReport]:
    """But for those of the self-check, which every run makes that reads a file."""
    before = BlockMeans.seen
    report = kind(job)
    return BlockMeans.seen - before - sum(check.compared for check in report.self_check.values()), report


def test_bytes_that_changed_alone_are_found_by_a_paranoid_run_only(job: Job) -> None:
    """With size and times as they were, a plain run misses the change; a paranoid one embeds it in a new row, publishes
    its path there, and says that it happened. The others cost no model call and no row."""
    alter(job, "b.png", content(4))
    calls, report = model_calls(job, run)
    assert (calls, report.images.changed) == (0, 0)
    calls, report = model_calls(job, paranoid)
    assert (calls, report.images.changed, report.images.new) == (1, 1, 0)
    assert any("1 files hold other bytes" in warning for warning in report.warnings)
    assert paths(job) == ["a.png", "", "c.png", "sub/d.png", "b.png"]
    assert verify(job.store) == []


def test_nothing_is_written_for_what_is_unchanged(job: Job) -> None:
    """A paranoid run over files that are what they were: no model call, no change, not a byte of the master."""
    master = (job.store / "vectors.h5").read_bytes()
    calls, report = model_calls(job, paranoid)
    assert (calls, report.images.changed, report.warnings) == (0, 0, run(job).warnings)
    assert (job.store / "vectors.h5").read_bytes() == master


def test_bytes_that_rotted_are_quarantined(job: Job) -> None:
    """A picture that cannot be decoded any more counts as changed and is refused with a reason; its vector stays."""
    alter(job, "a.png", content(0)[:60] + b"rotten")
    calls, report = model_calls(job, paranoid)
    assert (calls, report.images.changed, report.images.quarantined) == (0, 1, 1)
    assert model_calls(job, paranoid)[0] == 0
    assert Store(job.store)["one"].embedded.sum() == len(NAMES)


def test_a_change_to_another_known_content_costs_no_model_call(job: Job) -> None:
    """A file that holds a copy of another one now is found, and is a matter of its path alone."""
    alter(job, "b.png", content(0))
    calls, report = model_calls(job, paranoid)
    assert (calls, report.images.changed) == (0, 1)
    assert sorted(paths(job)) == ["", "a.png", "c.png", "sub/d.png"]


def test_a_file_that_cannot_be_read_is_told_and_loses_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error while hashing is a warning that names the file; its row, path and vector stay."""
    bad, real = str(Path(job.sources[0], "b.png")), os.open

    def failing(path: Any, *args: Any, **kwargs: Any) -> int:
        if path == bad:
            raise OSError(5, "Input/output error")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", failing)
    calls, report = model_calls(job, paranoid)
    assert (calls, report.images.removed, report.images.changed) == (0, 0, 0)
    assert any(bad in warning and "Input/output error" in warning for warning in report.warnings)
    assert sorted(paths(job)) == NAMES


def test_a_device_in_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    """A file that became a device after it was listed is told, not hashed for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe")):
        with pytest.raises(OSError, match=r"^it is no regular file any more$"):
            digest_here(path)


def test_one_that_is_killed_goes_on(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paranoid scan dies at its third file, having found a change: the next one begins there, still looks at all, and
    what was found is embedded."""
    alter(job, "a.png", content(4))
    looked = list[str]()

    def dying(path: str) -> bytes:
        looked.append(os.path.relpath(path, job.sources[0]))
        if len(looked) == 3:
            raise KeyboardInterrupt
        return digest_here(path)

    monkeypatch.setattr(module, "_AT_ONCE", 1)
    monkeypatch.setattr(reading, "digest_here", dying)
    with pytest.raises(KeyboardInterrupt):
        paranoid(job, threads=1)
    assert looked == ["a.png", "b.png", "c.png"]
    calls, report = model_calls(job, lambda job: paranoid(job, threads=1))
    assert looked[3:] == ["c.png", "sub/d.png", "b.png"], "what is known to have changed is read anyway"
    assert (calls, report.images.changed) == (1, 1)
    with Ledger(job.store) as ledger:
        assert ledger.worklist.rehashed() == ""


def test_it_stops_at_the_deadline_and_says_so(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline ends the hashing, names the first file that was left out, and the next time begins with that."""
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    over = chain([False] * 4, repeat(True))  # asked before a batch, and before each of its files
    monkeypatch.setattr(module, "past", lambda _deadline: next(over))
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources, paranoid=True, deadline=time.time() + 1000)
        assert [problem for problem in scan.problems if "c.png" in problem and "deadline" in problem]
        assert writer.ledger.worklist.rehashed().endswith("b.png")


def test_the_setting_asks_for_it(tmp_path: Path) -> None:
    """`[run] paranoid` reaches the job; a flag comes before it; the default is no."""
    file = tmp_path / "pixelmill.toml"
    file.write_text("[run]\nparanoid = true\n")
    assert make_job(load_settings(file), ["x"]).paranoid
    assert not make_job(load_settings(file, {"run": {"paranoid": False}}), ["x"]).paranoid
    file.write_text("")
    assert not make_job(load_settings(file), ["x"]).paranoid


def test_the_flag_leaves_the_setting_alone_unless_given() -> None:
    """`pixelmill run` without --paranoid says nothing about it to the flow."""
    from pixelmill.cli.run import run as command

    assert command.make_context("run", ["photos"]).params["paranoid"] is None
    assert command.make_context("run", ["photos", "--paranoid"]).params["paranoid"] is True
