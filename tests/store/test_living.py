"""What a run that lives has found and planned stays, whatever other runs do; what a dead one left goes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.report.build import build
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.prepare import prepare
from pixelmill.run.scan import scan_sources
from pixelmill.sources.found import FoundFile
from pixelmill.store import living
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from pixelmill.store.scans import SCANS_KEPT
from tests.conftest import SavePicture
from tests.support.models import spec_of
from tests.support.shards import embed_shard

OTHERS = SCANS_KEPT + 10
FILES = 20
_LIVES = """
import sys
from pathlib import Path
from pixelmill.store.living import holding
with holding(Path(sys.argv[1]), int(sys.argv[2])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def other_scans(folder: Path, number: int = OTHERS) -> None:
    """So many runs of others, each of which looks at its source and is killed then."""
    for _ in range(number):
        with Ledger(folder) as ledger:
            ledger.scans.record(ledger.scans.begin(), [FoundFile("/other", "x.png", 1, 1, 1)])


def planned(ledger: Ledger) -> int:
    """A scan of some files, with a plan for all of them."""
    files = [FoundFile("/photos", f"{number:03}.png", 1, 1, 1) for number in range(FILES)]
    scan = ledger.scans.begin()
    ledger.scans.record(scan, files)
    assert ledger.worklist.plan(scan, files, newest_first=False) == FILES
    return scan


def left_of(folder: Path, scan: int) -> tuple[int, int]:
    """How many files of a scan are on record as seen, and as to be done."""
    with Ledger(folder) as ledger:
        return ledger.scans.seen(scan), len(list(ledger.worklist.planned(scan, 0, FILES)))


@contextmanager
def process(folder: Path, scan: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that has a part in the run of a scan."""
    command = [sys.executable, "-c", _LIVES, os.fspath(folder), str(scan)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "holds\n"
        yield process


def test_a_plan_outlives_other_scans_while_its_ledger_is_open(tmp_path: Path) -> None:
    """Sixty runs of others come and go; then the run ends, and with the next one what it had is gone."""
    with Ledger(tmp_path) as ledger:
        scan = planned(ledger)
        other_scans(tmp_path)
        assert left_of(tmp_path, scan) == (FILES, FILES)
    other_scans(tmp_path, 1)
    assert left_of(tmp_path, scan) == (0, 0)


def test_a_plan_outlives_other_scans_between_the_steps_of_its_run(tmp_path: Path) -> None:
    """A run that opens the ledger for each of its steps says from one to the next that it lives."""
    with Ledger(tmp_path) as ledger:
        scan = planned(ledger)
        living.keep(tmp_path, scan)
    other_scans(tmp_path)
    with living.holding(tmp_path, scan):
        other_scans(tmp_path)
        assert left_of(tmp_path, scan) == (FILES, FILES)
    other_scans(tmp_path, 1)
    assert left_of(tmp_path, scan) == (0, 0)


def test_a_killed_process_keeps_nothing(tmp_path: Path) -> None:
    """While another process has a part in a run its plan stays; after kill -9 it goes with the next scan."""
    with Ledger(tmp_path) as ledger:
        scan = planned(ledger)
    with process(tmp_path, scan) as other:
        other_scans(tmp_path)
        assert left_of(tmp_path, scan) == (FILES, FILES)
        other.send_signal(signal.SIGKILL)
        other.wait()
    other_scans(tmp_path, 1)
    assert left_of(tmp_path, scan) == (0, 0)
    assert not living.sign_of(tmp_path, scan).exists()


def test_killed_runs_do_not_swell_the_ledger(tmp_path: Path) -> None:
    """Of twenty runs that were killed after their scan there is on record what one of them left."""
    files = [FoundFile("/photos", f"{number:05}.png", 1, 1, 1) for number in range(5_000)]
    sizes = []
    for _ in range(20):
        with Ledger(tmp_path) as ledger:
            scan = ledger.scans.begin()
            ledger.scans.record(scan, files)
            ledger.worklist.plan(scan, files, newest_first=False)
        sizes.append(sum(file.stat().st_size for file in tmp_path.glob("ledger.sqlite*")))
    assert sizes[-1] <= 1.1 * sizes[1]
    assert sorted(living.scans(tmp_path)) == [20]


def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    """Not even when an old ledger is put back beside a run that lives: it would take the other's plan for its own."""
    store, backup = tmp_path / "store", tmp_path / "backup"
    store.mkdir()
    Ledger(store).close()
    shutil.copytree(store, backup)
    with Ledger(store) as ledger, living.holding(store, planned(ledger)):
        ledger.close()
        for file in store.glob("ledger.sqlite*"):
            file.unlink()
        shutil.copy(backup / "ledger.sqlite", store)
        with Ledger(store) as restored:
            assert restored.scans.begin() == 2


def test_scans_without_a_sign_stay_for_a_while(tmp_path: Path) -> None:
    """A program from before there were signs may still be at work: what it found stays for fifty other scans."""
    with Ledger(tmp_path) as ledger:
        scan = planned(ledger)
    living.remove(tmp_path, scan)
    other_scans(tmp_path, SCANS_KEPT)
    assert left_of(tmp_path, scan) == (FILES, FILES)
    other_scans(tmp_path, 2)
    assert left_of(tmp_path, scan) == (0, 0)


def test_where_locks_may_not_reach_others_a_sign_counts_for_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared file system nobody may hold the sign of another machine's run as far as this one sees: it must be old
    as well, by the file system's own time. A run of this machine would be seen to hold it."""
    monkeypatch.setattr(living, "is_shared", lambda _folder: True)
    with Ledger(tmp_path) as ledger:
        mine = planned(ledger)
    with living.holding(tmp_path, mine):
        assert living.lives(tmp_path, mine, now=time.time())
    assert living.lives(tmp_path, mine, now=time.time()) is False
    with Ledger(tmp_path) as ledger:
        scan = planned(ledger)
    living.sign_of(tmp_path, scan).write_text("another kernel")
    other_scans(tmp_path)
    assert left_of(tmp_path, scan) == (FILES, FILES)
    sign = living.sign_of(tmp_path, scan)
    os.utime(sign, (0, sign.stat().st_mtime - 8 * 86_400))
    other_scans(tmp_path, 1)
    assert left_of(tmp_path, scan) == (0, 0)


def test_a_plan_that_is_lost_is_told(tmp_path: Path, save_picture: SavePicture) -> None:
    """A store that is repaired, or put back, under a run has no plan of it: a shard without images is no shard that is
    done, and the run cannot report."""
    (tmp_path / "weights").write_bytes(b"weights")
    save_picture(tmp_path / "photos" / "a.png")
    job = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", max_pixels=10**8, max_aspect=100.0,
        max_bytes=10**8,
    )  # fmt: skip
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources)
        prepared = prepare(job, writer, scan.number)
        matrices, plan = list(prepared.matrices), prepared.plan
        writer.ledger.scans.forget(scan.number)
        with pytest.raises(StoreError, match="Expected the plan of run 1"):
            embed_shard(job, writer, matrices, scan.number, plan.shards[0])
        with pytest.raises(StoreError, match="images that run 1 has found"):
            build(
                job,
                writer.snapshot(),
                writer.ledger,
                scan,
                matrices,
                writer.ledger.changes(),
                [],
                started=0.0,
                seconds=1.0,
            )
