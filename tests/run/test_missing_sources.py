"""Sources that go away before a run, while it looks and while it embeds: nothing is lost, and one line tells of each."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelmill.errors import SourceError
from pixelmill.report.attention import end_of
from pixelmill.report.model import RunReport
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.preflight import check_sources
from pixelmill.run.rounds import Lost
from pixelmill.run.steps import HERE, embed_here, preview, run
from pixelmill.run.unreadable import EMPTY, GONE, NAMED, UnreadableSource, told_one_by_one, unreadable_sources
from pixelmill.sources.discover import Discovery
from pixelmill.sources.found import FoundFile
from pixelmill.sources.source import Source
from tests.support.models import STAND_INS, BlockMeans, spec_of

IMAGES = 12


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run over two folders of a dozen pictures each."""
    monkeypatch.setattr(STAND_INS, "kind", BlockMeans)
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", (0.0,))
    (tmp_path / "weights").write_bytes(b"weights")
    for start, name in enumerate(("photos", "scans")):
        fill(tmp_path / name, start * IMAGES)
    return Job(
        sources=(str(tmp_path / "photos"), str(tmp_path / "scans")), store=tmp_path / "store",
        specs=(spec_of("one", tmp_path),), cache={"cache_dir": tmp_path / "cache"}, precision="float32", batch_size=2,
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def fill(folder: Path, start: int) -> None:
    folder.mkdir()
    for seed in range(start, start + IMAGES):
        buffer, random = BytesIO(), np.random.default_rng(seed)
        Image.fromarray(random.integers(1, 256, (12, 12, 3), dtype=np.uint8)).save(buffer, "png")
        (folder / f"{seed:02}.png").write_bytes(buffer.getvalue())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def away(photos: Path) -> Path:
    """Where the folder is when it is not where it should be."""
    return photos.with_name("away")


def kind_of(report: RunReport, job: Job) -> str:
    return end_of(report, missing_source=job.missing_source, most=job.max_failure_rate).kind


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_source_that_is_away_before_a_run(job: Job, photos: Path, away: Path, how: str) -> None:
    """What is known of it is neither removed nor new when it is back; the other source is done; one line tells."""
    run(job)
    photos.rename(away)
    if how == "empty":
        photos.mkdir()
    (photos.with_name("scans") / "new.png").write_bytes((away / "00.png").read_bytes() + b" ")
    night = run(job)
    why = GONE if how == "gone" else EMPTY
    told = f"{IMAGES} of {IMAGES} images of {photos} could not be read: {why}."
    assert (night.images.removed, night.models["one"].embedded, night.failure) == (0, 1, "")
    assert night.attention == (told,)
    assert night.sources == {str(photos): 0, str(photos.with_name("scans")): IMAGES + 1}
    assert len([w for w in night.warnings if str(photos) in w]) == 1
    assert kind_of(night, job) == "warnings"
    assert kind_of(night, job.model_copy(update={"missing_source": "fail"})) == "failed"
    assert preview(job).failure == ""
    check_sources(job)
    shutil.rmtree(photos, ignore_errors=True)
    away.rename(photos)
    back = run(job)
    assert back.images.model_dump() == night.images.model_dump() | {"seen": 2 * IMAGES + 1, "new": 0}
    assert (back.models["one"].embedded, back.attention) == (0, ())


def test_a_source_that_nothing_is_known_of_is_an_error(job: Job, photos: Path) -> None:
    """A typo is told at once, before and within a run; so is a source that is away and the only one."""
    run(job)
    typo = job.model_copy(update={"sources": (*job.sources, str(photos) + "o")})
    shutil.rmtree(photos)
    alone = job.model_copy(update={"sources": job.sources[:1]})
    for wrong in (typo, alone):
        for refuse in (check_sources, run):
            with pytest.raises(
                SourceError, match="does not exist; if it is on another disk or a share, is that mounted"
            ):
                refuse(wrong)


def test_a_source_that_goes_away_while_it_is_embedded(job: Job, photos: Path, away: Path) -> None:
    """One line says how many could not be read and why, in place of one for each; they wait, and are done when it is
    back."""

    def embed(orders: RunOrders, intake: Intake) -> Lost:
        photos.rename(away)
        return embed_here(orders, intake)

    night = run(job, dataclasses.replace(HERE, embed=embed))
    told = f"{IMAGES} of {IMAGES} images of {photos} could not be read: the source is gone."
    assert night.attention == (told,)
    assert [w for w in night.warnings if str(photos) in w] == [told]
    assert (night.images.removed, night.models["one"].embedded, night.models["one"].pending) == (0, IMAGES, IMAGES)
    assert night.exceeded_failure_rate
    assert kind_of(night, job) == "warnings"
    away.rename(photos)
    back = run(job)
    assert (back.models["one"].embedded, back.images.removed, back.attention) == (IMAGES, 0, ())
    assert back.images.new == IMAGES - night.images.new + IMAGES


def test_a_source_that_goes_away_while_it_is_listed(
    job: Job, photos: Path, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images that were not seen any more are not removed."""
    run(job)
    walk = Discovery._folder

    def interrupted(self: Discovery, source: Source) -> Iterator[FoundFile]:
        for number, file in enumerate(walk(self, source)):
            if number == 3 and photos.exists():
                photos.rename(away)
                return
            yield file

    monkeypatch.setattr(Discovery, "_folder", interrupted)
    night = run(job)
    assert night.images.removed == 0
    assert night.attention[0] == (
        f"{IMAGES - 3} of {IMAGES} images of {photos} could not be read: "
        f"the source is gone, since 3 of {IMAGES} images were seen, at {photos}."
    )


def test_files_that_are_gone_from_a_source_that_is_there_are_removed(job: Job, photos: Path) -> None:
    """The guard against sources that went away does not keep what somebody deleted."""
    run(job)
    for seed in range(5):
        (photos / f"{seed:02}.png").unlink()
    night = run(job)
    assert night.images.removed == 5
    assert night.unreadable == ()


def test_a_list_of_which_nothing_is_there_loses_nothing_beside_others(job: Job, tmp_path: Path, photos: Path) -> None:
    """As when the disk is not mounted on which all lie that it names; another source is seen all the same."""
    (tmp_path / "list.txt").write_text("\n".join(map(str, sorted(photos.iterdir()))))
    listed = job.model_copy(update={"sources": (f"@{tmp_path}/list.txt", job.sources[1])})
    run(listed)
    shutil.rmtree(photos)
    night = run(listed)
    assert night.images.removed == 0
    assert f"{IMAGES} of {IMAGES} images of {tmp_path}/list.txt could not be read: none of its files is there." in (
        night.attention
    )


def unread(folder: str, count: int, why: str = "Input/output error") -> list[str]:
    return [f"{folder}/{n}.png: {why}" for n in range(count)]


def test_which_sources_could_not_be_read_in_large_part() -> None:
    """More than may fail, the innermost folder counts; one that is away is told however few were left to be read."""
    seen = {"/a": 100, "/a/b": 100, "/c": 100, "/d": 100}
    told = [*unread("/a", 5), *unread("/a/b", 6), *unread("/c", 1), *unread("/elsewhere", 2, "Stale file handle")]
    look = {"/c": GONE}.get
    found = unreadable_sources((), seen, told, in_all=310, most=0.05, look=lambda folder: look(folder, ""))
    assert [str(source) for source in found] == [
        "6 of 100 images of /a/b could not be read: Input/output error.",
        "1 of 100 images of /c could not be read: the source is gone.",
        f"2 of 10 images of {NAMED} could not be read: Stale file handle.",
    ]
    assert told_one_by_one(told, seen, found) == [*unread("/a", 5), *unread("/elsewhere", 2, "Stale file handle")]
    assert len(unreadable_sources((), seen, told, in_all=340, most=0.05, look=lambda folder: look(folder, ""))) == 2


def test_what_the_scan_could_not_look_at_counts_by_its_share() -> None:
    """A whole source always; a part of one if it is more than may fail."""
    whole = UnreadableSource(source="/w", images=3, unread=3, why=EMPTY)
    part = UnreadableSource(source="/p", images=100, unread=5, why="Permission denied")
    assert unreadable_sources((whole, part), {}, (), in_all=103, most=1.0, look=lambda _: "") == (whole,)
    assert unreadable_sources((whole, part), {}, (), in_all=103, most=0.04, look=lambda _: "") == (whole, part)
