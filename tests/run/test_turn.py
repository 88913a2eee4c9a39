"""Two runs on one store take turns; nothing else does, and nobody waits for the dead."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixelmill.errors import StoreBusy, StoreError
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.rounds import Lost
from pixelmill.run.steps import Steps, embed_here, preview, run
from pixelmill.run.turn import turn
from pixelmill.store.backup import backup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.verify import repair, verify
from tests.conftest import SavePicture
from tests.support.models import spec_of

IMAGES = 6
HOLDS = "import sys, time; from pathlib import Path; from pixelmill.run.turn import turn\n"
HOLDS += "with turn(Path(sys.argv[1])): print('mine', flush=True); time.sleep(600)"


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), batch_size=2, shard_size=2, device="cpu", precision="float32",
    )  # fmt: skip


@contextmanager
def held_by_a_process(store: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDS, str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "mine\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_waits_and_does_what_is_left(
    job: Job, save_picture: SavePicture, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that comes while another embeds, here of another thread, says for whom it waits and for how long it has;
    no image is embedded twice, and what came meanwhile is embedded by the second."""
    caplog.set_level(logging.WARNING, "pixelmill.run.turn")
    embedding, go_on = threading.Event(), threading.Event()

    def embed(orders: RunOrders, intake: Intake) -> Lost:
        embedding.set()
        assert go_on.wait(60)
        return embed_here(orders, intake)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(run, job, Steps(embed=embed))
        assert embedding.wait(60)
        second = pool.submit(run, job)
        until = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < until:
            time.sleep(0.01)
        save_picture(Path(job.sources[0]) / "new.png", IMAGES)
        go_on.set()
        reports = [first.result(60), second.result(60)]
    assert [report.models["one"].embedded for report in reports] == [IMAGES, 1]
    assert f"waiting for another run on {job.store}, process {os.getpid()} on " in caplog.messages[0]
    assert caplog.messages[1].startswith("waited ")


def test_a_killed_run_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Its turn is over when its process is."""
    with held_by_a_process(tmp_path) as process:
        with pytest.raises(StoreBusy), turn(tmp_path, time.time()):
            pass
        process.kill()
        process.wait()
        with turn(tmp_path, time.time()):
            pass


def test_the_deadline_counts_while_it_is_waited(tmp_path: Path) -> None:
    """A run whose deadline comes before its turn fails, with the name of the one that it waited for."""
    words = r"in time\. Another run has it still, process \d+"
    with turn(tmp_path), pytest.raises(StoreBusy, match=words), turn(tmp_path, time.time() + 0.3):
        pass


def test_a_signal_ends_the_waiting(tmp_path: Path) -> None:
    """Ctrl-C is heard at once, and the turn stays with the one that has it."""
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with turn(tmp_path):
        with pytest.raises(KeyboardInterrupt), turn(tmp_path):
            pass
        with pytest.raises(StoreBusy), turn(tmp_path, 0.0):
            pass


def test_nothing_else_waits(job: Job, tmp_path: Path) -> None:
    """While a run is at work, a dry run tells what is left, and a backup, a compaction, a check and a repair are done."""
    run(job)
    with held_by_a_process(job.store):
        assert preview(job).models["one"].pending == 0
        with StoreWriter(job.store) as writer:
            compact(writer)
        backup(job.store, tmp_path / "backup")
        assert verify(job.store) == []
        repair(job.store)
        with turn(tmp_path / "other"):
            pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """In words, as of any store that cannot be written."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="Expected to write to the store in"), turn(tmp_path / "file/store"):
        pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS without its lock service, say: in words, whichever of its locks is asked for."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match="Expected a file system with working locks under"), turn(tmp_path):
        pass
