"""Runs over folders with everything wrong in them: each good picture is embedded, each bad one is told by its name."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.plan import Plan
from pixelmill.report.model import RunReport
from pixelmill.run.job import Job
from pixelmill.run.steps import Steps, plan_work, run
from pixelmill.sources import local
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.hostile_images import files as hostile_files
from tests.support.media import modes_hold_for_all
from tests.support.models import BlockMeans, spec_of
from tests.support.numbered import content
from tests.support.scenes import EIGHT_BIT

GOOD = {
    b"good.png": content(0),
    b"a\nb.png": content(1),
    b"caf\xe9.png": content(2),
    b"\xff\xfe/-rf *.png": content(3),
    b"'\"; DROP TABLE files; --.png": content(4),
    b"no extension": EIGHT_BIT["jpeg"],
    b"lies.jpg": EIGHT_BIT["webp"],
}
TRANSIENT = (errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ETIMEDOUT, errno.EACCES)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of good pictures with names from an enemy."""
    for name, data in GOOD.items():
        file = tmp_path / "photos" / os.fsdecode(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "photos"


@pytest.fixture
def job(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run over `photos` with a stand-in model that counts what it is given."""
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", (0.0,))
    (tmp_path / "weights").write_bytes(b"weights")
    return Job(
        sources=(str(photos),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache={"cache_dir": tmp_path / "cache"}, precision="float32", max_pixels=10**8, max_aspect=100.0, max_bytes=10**7,
    )  # fmt: skip


def model_calls(job: Job) -> tuple[int, RunReport]:
    """But for those of the self-check."""
    before = BlockMeans.seen
    report = run(job)
    return BlockMeans.seen - before - sum(check.compared for check in report.self_check.values()), report


def embedded(job: Job) -> set[bytes]:
    """The paths of the images that have a vector, as bytes."""
    store = Store(job.store)
    return {path for path, done in zip(store.paths, store["one"].embedded, strict=True) if done and path}


def quarantine(job: Job) -> dict[str, str]:
    """What is in quarantine: the reason, by file name."""
    with Ledger(job.store) as ledger:
        return {Path(entry.path).name: entry.reason for entry in ledger.quarantine.entries()}


@pytest.mark.timeout(120)
def test_a_folder_of_everything_that_is_wrong(job: Job, photos: Path) -> None:
    """Bombs, cut and flipped files, EPS and HTML named .jpg, pipes, sockets, devices and loops among good pictures: the
    good ones are embedded, each bad one is in quarantine under its name with a reason, and a second run does nothing."""
    hostile = {f"{name}.jpg": data for name, data in hostile_files() if "flipped" not in name}
    for name, data in hostile.items():
        (photos / name).write_bytes(data)
    os.mkfifo(photos / "pipe.jpg")
    (photos / "device.jpg").symlink_to("/dev/zero")
    (photos / "loop").symlink_to(photos)
    (photos / "self.jpg").symlink_to("self.jpg")
    (photos / "empty.jpg").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(photos / "socket.jpg"))
        calls, report = model_calls(job)
    bad = quarantine(job)
    assert GOOD.keys() <= embedded(job)
    survived = hostile.keys() - bad.keys()
    assert survived <= {"icc bomb.jpg", "text bomb.jpg"}, "pictures whose metadata alone is bad"
    assert calls == len(GOOD) + len(survived)
    assert all(len(reason) > 10 for reason in bad.values())
    assert {"empty.jpg", "html.jpg", "eps.jpg", "strip.jpg", "bomb.jpg", "gif bomb.jpg", "bmp bomb.jpg"} <= bad.keys()
    assert any("self.jpg" in warning for warning in report.warnings)
    assert (report.images.quarantined, report.models["one"].pending) == (len(bad), 0)
    assert verify(job.store) == []
    before = (job.store / "vectors.h5").read_bytes()
    calls, again = model_calls(job)
    assert (calls, again.images.new, again.images.quarantined) == (0, 0, len(bad))
    assert (job.store / "vectors.h5").read_bytes() == before


def test_what_vanishes_or_changes_after_the_scan(job: Job, photos: Path) -> None:
    """A file that is gone when its turn comes, one that became a folder, and one that holds something else by then: the
    others are embedded, and the next run has the collection as it is."""

    def disturb(job: Job, scan: int) -> tuple[list[Matrix], Plan]:
        (photos / "good.png").unlink()
        (photos / "lies.jpg").unlink()
        (photos / "lies.jpg").mkdir()
        (photos / "a\nb.png").write_bytes(EIGHT_BIT["png"])
        return plan_work(job, scan)

    report = run(job, Steps(plan=disturb))
    assert embedded(job) == GOOD.keys() - {b"good.png", b"lies.jpg"}
    assert "No such file" in "".join(w for w in report.warnings if "good.png" in w)
    calls, report = model_calls(job)
    assert (calls, report.images.quarantined, report.models["one"].pending) == (0, 0, 0)
    assert embedded(job) == GOOD.keys() - {b"good.png", b"lies.jpg"}


def test_a_file_that_is_written_to_while_it_is_read(job: Job, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that is still going on is left for the next run, and never embedded or quarantined by its first half."""
    upload, whole = photos / "upload.jpg", EIGHT_BIT["jpeg"] + b"end"
    upload.write_bytes(whole[:200])
    real = local._read

    def read_while_written(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if os.path.samestat(os.fstat(descriptor), upload.stat()):
            with upload.open("ab") as file:
                file.write(whole[200:] if upload.stat().st_size == 200 else b".")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(local, "_read", read_while_written)
        calls, report = model_calls(job)
    assert (calls, report.models["one"].pending, quarantine(job)) == (len(GOOD), 1, {})
    assert any("upload.jpg" in warning and "written to" in warning for warning in report.warnings)
    assert model_calls(job)[0] == 1
    assert b"upload.jpg" in embedded(job)


def test_a_folder_without_permission_loses_nothing(job: Job, photos: Path) -> None:
    """What lies in a folder that cannot be listed keeps its rows, paths and vectors; a new file that cannot be opened is
    pending. The report names both. With the permission back only that file costs a model call."""
    run(job)
    locked, file = photos / os.fsdecode(b"\xff\xfe"), photos / "new.png"
    file.write_bytes(EIGHT_BIT["png"])
    with modes_hold_for_all():
        locked.chmod(0)
        file.chmod(0)
        calls, report = model_calls(job)
    assert (calls, report.images.removed, report.models["one"].pending) == (0, 0, 1)
    assert {name for name in ("new.png", "\udcff") if any(name in w and "denied" in w for w in report.warnings)} == {
        "new.png", "\udcff",
    }  # fmt: skip
    assert embedded(job) == GOOD.keys()
    locked.chmod(0o755)
    file.chmod(0o644)
    calls, report = model_calls(job)
    assert (calls, report.images.new, report.images.removed) == (1, 1, 0)


def test_a_disk_that_is_not_mounted_removes_nothing(job: Job, photos: Path, tmp_path: Path) -> None:
    """A source that is empty, though images are known there, is told and keeps them all; another source of the run
    is not held up. The disk back in its place, there is nothing to do; a folder emptied but for one file is believed."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.png").write_bytes(EIGHT_BIT["png"])
    both = job.model_copy(update={"sources": (str(photos), str(other))})
    run(both)
    photos.rename(tmp_path / "away")
    photos.mkdir()
    (other / "y.png").write_bytes(EIGHT_BIT["gif"])
    calls, report = model_calls(both)
    assert (calls, report.images.removed, report.images.new) == (1, 0, 1)
    assert any(str(photos) in warning and "is it mounted?" in warning for warning in report.warnings)
    assert embedded(both) == GOOD.keys() | {b"x.png", b"y.png"}
    photos.rmdir()
    (tmp_path / "away").rename(photos)
    calls, report = model_calls(both)
    assert (calls, report.images.removed, report.images.new, report.images.moved) == (0, 0, 0, 0)
    shutil.rmtree(photos)
    photos.mkdir()
    (photos / "good.png").write_bytes(GOOD[b"good.png"])
    assert run(both).images.removed == len(GOOD) - 1


@pytest.mark.parametrize("number", TRANSIENT, ids=lambda number: errno.errorcode[number])
def test_errors_that_may_pass_quarantine_nothing(
    number: int, job: Job, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk, network or machine is tried again within the run, then counts as pending; the next run,
    with the error gone, embeds the image. One that passes at once costs nothing."""
    tried = list[str]()

    def failing(path: str, *args: int, **kwargs: int) -> int:
        if path.endswith("lies.jpg") or (path.endswith("good.png") and path not in tried):
            tried.append(path)
            raise OSError(number, os.strerror(number))
        return os.open(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(local, "os", SimpleNamespace(**vars(os) | {"open": failing}))
        calls, report = model_calls(job)
    assert (calls, report.models["one"].pending, quarantine(job)) == (len(GOOD) - 1, 1, {})
    assert len([path for path in tried if path.endswith("lies.jpg")]) >= 2
    assert any("lies.jpg" in warning and os.strerror(number) in warning for warning in report.warnings)
    assert model_calls(job)[0] == 1
    assert embedded(job) == GOOD.keys()


def test_too_little_memory_quarantines_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that gets no memory while the machine has none to give leaves its picture for later."""

    def hungry(data: bytes, *args: object, **kwargs: object) -> object:
        if data == GOOD[b"good.png"]:
            raise MemoryError
        return decode_in_sandbox(data, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("pixelmill.embedding.inputs.decode_in_sandbox", hungry)
        patch.setattr("pixelmill.run.settle.decode_in_sandbox", hungry)
        report = run(job)
    assert (report.models["one"].pending, quarantine(job)) == (1, {})
    assert model_calls(job)[0] == 1


def test_a_bad_file_is_tried_again_only_when_it_changes_or_on_request(
    job: Job, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarantined file is not decoded by later runs, nor after a touch or under another name; it is with another
    content, and after `quarantine --retry`."""
    tried = list[bytes]()

    def watched(data: bytes, *args: object, **kwargs: object) -> object:
        if data not in GOOD.values():  # those the self-check decodes
            tried.append(data)
        return decode_in_sandbox(data, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("pixelmill.embedding.inputs.decode_in_sandbox", watched)
    bad = photos / "bad.jpg"
    bad.write_bytes(EIGHT_BIT["jpeg"][:90])
    run(job)
    assert tried.count(bad.read_bytes()) == 1
    tried.clear()
    run(job)
    os.utime(bad, ns=(1, 1))
    run(job)
    bad.rename(photos / "renamed.jpg")
    run(job)
    assert (tried, list(quarantine(job))) == ([], ["renamed.jpg"])
    with Ledger(job.store) as ledger:
        ledger.quarantine.release()
    run(job)
    assert tried == [EIGHT_BIT["jpeg"][:90]]
    (photos / "renamed.jpg").write_bytes(EIGHT_BIT["jpeg"][:120])
    run(job)
    assert tried == [EIGHT_BIT["jpeg"][:90], EIGHT_BIT["jpeg"][:120]]
    (photos / "renamed.jpg").write_bytes(EIGHT_BIT["gif"])
    run(job)
    assert (quarantine(job), b"renamed.jpg" in embedded(job)) == ({}, True)
