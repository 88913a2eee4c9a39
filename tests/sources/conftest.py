"""Runs over sources elsewhere, with a stand-in model that counts what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixelmill.report.model import RunReport
from pixelmill.run.job import Job
from pixelmill.run.steps import run
from pixelmill.sources import archives
from pixelmill.store.reader import Store
from tests.support.image_server import ImageServer
from tests.support.models import BlockMeans, spec_of

Run = Callable[..., tuple[int, RunReport]]


def places(job: Job) -> set[str]:
    """Where the images of the store are, as a researcher reads it."""
    store = Store(job.store)
    return {f"{s.decode()}/{p.decode()}" for s, p in zip(store.sources, store.paths, strict=True) if p}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is asked again without a wait."""
    monkeypatch.setattr("pixelmill.sources.retry.DELAYS", (0.0, 0.0))


@pytest.fixture
def web() -> Iterator[ImageServer]:
    with ImageServer().running() as server:
        yield server


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job without sources. Nothing is waited for, and what is known of archives is asked for each time."""
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", (0.0,))
    monkeypatch.setattr(archives, "_STATUS_SECONDS", 1e-9)
    (tmp_path / "weights").write_bytes(b"weights")
    return Job(
        sources=(), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache={"cache_dir": tmp_path / "cache"}, precision="float32", max_pixels=10**8, max_aspect=100.0, max_bytes=10**6,
    )  # fmt: skip


@pytest.fixture
def go(job: Job) -> Run:
    """Run over sources, with changes to the job: how many images the model was given, but for those of the self-check;
    and the report."""

    def over(*sources: str, **changes: object) -> tuple[int, RunReport]:
        before = BlockMeans.seen
        report = run(job.model_copy(update={"sources": sources, **changes}))
        return BlockMeans.seen - before - sum(check.compared for check in report.self_check.values()), report

    return over
