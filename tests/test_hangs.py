"""What never returns costs itself: the rest is embedded, the deadline kept, and what hangs is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pixelmill.embedding import reader
from pixelmill.report.model import RunReport
from pixelmill.run import worker as work
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.sources.found import FoundFile
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.watch import calls
from tests.conftest import SavePicture
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.shim import needed_compiler

IMAGES = 12


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    """A run over twelve pictures, two of them in a folder of their own."""
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / ("sub" if seed in (6, 7) else "") / f"{seed:02}.png", seed, (16, 16))
    (tmp_path / "weights").write_bytes(b"weights")
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=2,
        max_pixels=10**6, max_aspect=100.0, max_bytes=10**6,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Seconds in the place of minutes."""
    for name in ("SILENT_SECONDS", "COMPUTING_SECONDS", "OVERTIME_SECONDS"):
        monkeypatch.setattr(calls, name, 1.0)
    monkeypatch.setattr(work, "_RETRY_DELAYS", (0.1, 0.1))
    monkeypatch.setattr(reader, "OVERTIME_SECONDS", 0.5)
    yield
    calls.start_anew()


def hang_at(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Reading files of these names never comes to an end; of all files, if there are none."""
    real = reader.read_image

    def reads(file: FoundFile, *, max_bytes: int) -> bytes:
        if not names or Path(file.path).name in names:
            threading.Event().wait()
        return real(file, max_bytes=max_bytes)

    monkeypatch.setattr(reader, "read_image", reads)


def counts(report: RunReport) -> tuple[int, int, int]:
    one = report.models["one"]
    return one.embedded, one.pending, one.quarantined


def test_a_file_that_hangs_costs_itself(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a deadline, too: the others are embedded, it is pending and named, and the run has failed."""
    hang_at(monkeypatch, "03.png")
    report = run(job)
    assert counts(report) == (IMAGES - 1, 1, 0)
    (hang,) = report.hung
    assert (hang.stage, Path(hang.what).name, hang.source, hang.worker) == ("read", "03.png", job.sources[0], "inline")
    assert hang.seconds >= 1
    assert "03.png" in report.failure
    assert verify(job.store) == []


def test_a_source_that_hangs_is_left_after_a_few_files(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing answers, not every file is waited for; all are pending and told of."""
    hang_at(monkeypatch)
    start = time.monotonic()
    report = run(job)
    assert counts(report) == (0, IMAGES, 0)
    assert len(report.hung) <= 2 * job.threads
    assert (
        f"{IMAGES} of {IMAGES} images of {job.sources[0]} could not be read: the source does not answer."
        in report.warnings
    )
    assert time.monotonic() - start < 20


def test_a_deadline_is_kept_by_a_run_whose_source_hangs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends soon after it, whatever patience it would have; what was read by then is embedded."""
    monkeypatch.setattr(calls, "SILENT_SECONDS", 1000.0)
    hang_at(monkeypatch, "05.png")
    deadline = time.time() + 2
    report = run(job.model_copy(update={"deadline": deadline}))
    assert time.time() < deadline + 10
    embedded, pending, _ = counts(report)
    assert embedded + pending == IMAGES
    assert embedded >= 1
    assert [Path(hang.what).name for hang in report.hung] == ["05.png"]


@pytest.mark.parametrize("limit", ["deadline", "patience"])
def test_a_model_that_hangs_ends_the_run(job: Job, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it made before is stored, the rest is pending; the report names model and stage."""

    class Hangs(BlockMeans):
        calls = 0

        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            Hangs.calls += 1
            if Hangs.calls == 3:
                threading.Event().wait()
            return super().encode_image(pixels)

    monkeypatch.setattr(STAND_INS, "kind", Hangs)
    if limit == "deadline":
        monkeypatch.setattr(calls, "COMPUTING_SECONDS", 1000.0)
        job = job.model_copy(update={"deadline": time.time() + 3})
    report = run(job)
    assert counts(report) == (4, IMAGES - 4, 0)
    assert [(hang.stage, hang.what.partition(" ")[0]) for hang in report.hung] == [("embed", "one")]
    assert report.failure
    assert int(Store(job.store)["one"].embedded.sum()) == 4
    assert verify(job.store) == []
    calls.start_anew()
    assert counts(run(job.model_copy(update={"deadline": None}))) == (IMAGES - 4, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "at", "when", "seen", "embedded"),
    [
        ("open", "03.png", "embed", IMAGES, IMAGES - 1),
        ("open", "03.png", "scan", IMAGES - 1, IMAGES - 1),
        ("open", "photos/sub", "scan", IMAGES - 2, IMAGES - 2),
        ("stat", "photos", "scan", 0, 0),
    ],
    ids=["a file that is read", "a file that is looked at", "a folder", "the source"],
)
def test_a_process_whose_calls_hang_ends(
    job: Job, call: str, at: str, when: str, seen: int, embedded: int, tmp_path: Path
) -> None:
    """System calls that never return, as on a disk of a server that is down: what does not hang is embedded, nothing is
    marked as gone, the report names it, and the process ends."""
    library = tmp_path / "hang.so"
    source = Path(__file__).parent / "support" / "hang.c"
    subprocess.run([needed_compiler(), "-O1", "-Wall", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    environment = {
        **os.environ, "LD_PRELOAD": str(library), "HANG_IN": call, "HANG_AT": at, "HANG_WHEN": str(tmp_path / "now"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    anew = job.model_copy(update={"store": tmp_path / "anew"})
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hanging_run", anew.model_dump_json(), when],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = RunReport.model_validate_json(done.stdout.splitlines()[-1])
    assert (report.images.seen, report.models["one"].embedded if report.models else 0) == (seen, embedded)
    assert report.images.removed == 0
    assert [at.rpartition("/")[2] in hang.what for hang in report.hung] == [True]
    assert report.failure
