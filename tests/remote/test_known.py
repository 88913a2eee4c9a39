"""Renamed and copied files on a worker that has never seen the store: no model is called for what is stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelmill.run.direct import run_here
from pixelmill.run.job import Job
from pixelmill.store.verify import verify
from tests.remote.backend import LOG, embedded
from tests.remote.clusters import Dask
from tests.remote.conftest import IMAGES, MODEL, stored
from tests.support.image_server import Faults, ImageServer
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
CONTENTS, COPIES = 500, 20
MEASURE = 16
"""At most so many stored pictures a worker embeds again, to compare."""


@contextmanager
def worker(job: Job, env: dict[str, str]) -> Iterator[Job]:
    """The job for a worker on a machine without the store; it logs what it embeds."""
    folder = job.store.parent
    with Namespace(hidden=[job.store]) as there, Dask(folder, env) as dask:
        dask.worker("one", there, **{LOG: str(log_of(job))})
        dask.wait(1)
        yield job.model_copy(update={"fan_out": "dask", "cluster": dask.address})


def log_of(job: Job) -> Path:
    return job.store.parent / "embedded.log"


def test_ten_thousand_renamed_and_copied_files(job: Job, env: dict[str, str]) -> None:
    """500 pictures are stored, half of them of one size in bytes, more than are listed one by one. All are renamed, and
    there are nineteen copies of each: the worker reads 10,000 files, and embeds a few stored ones to compare."""
    photos = job.store.parent / "photos"
    shutil.rmtree(photos)
    photos.mkdir()
    random = np.random.default_rng(0)
    for n in range(CONTENTS):
        picture = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        picture.save(photos / f"{n}.{'bmp' if n % 2 else 'png'}")
    job = job.model_copy(update={"shard_size": 1000, "batch_size": 64})
    run_here(job)
    before = stored(job.store)
    for path in list(photos.iterdir()):
        data = path.read_bytes()
        path.unlink()
        for copy in range(COPIES):
            (photos / f"copy-{copy}-of-{path.name}").write_bytes(data)
    with worker(job, env) as far:
        report = run_here(far)
    assert report.images.seen == CONTENTS * COPIES
    assert (report.images.new, report.models[MODEL].embedded, report.embedded_twice) == (0, 0, 0)
    assert embedded(log_of(job)) <= MEASURE
    assert stored(job.store) == before
    assert verify(job.store) == []


def test_sizes_that_no_listing_tells(job: Job, env: dict[str, str], assert_as_inline: Callable[[Job], None]) -> None:
    """A server says the length of no file, and has each picture under two names. What is stored by then is known by its
    prefix and not embedded again; what two shards that follow each other embed is stored once, and counted in the report."""
    photos = sorted((job.store.parent / "photos").iterdir())
    listed = job.store.parent / "list.txt"
    with ImageServer().running() as server, worker(job, env) as far:
        for name in ("a", "b", "c"):
            for path in photos:
                server.files[f"/{path.stem}/{name}.png"] = path.read_bytes()
                server.faults[f"/{path.stem}/{name}.png"] = Faults(says_length=False, ranges=False)

        def night(*names: str) -> Job:
            listed.write_text("".join(f"{server.url}/{path.stem}/{name}.png\n" for name in names for path in photos))
            return far.model_copy(update={"sources": (f"@{listed}",), "shard_size": 1})

        first = run_here(night("a", "b"))
        assert first.models[MODEL].pending == 0
        assert 0 < first.embedded_twice <= IMAGES
        assert first.models[MODEL].embedded - first.embedded_twice == IMAGES
        made = embedded(log_of(job))
        second = run_here(night("a", "b", "c"))
        assert (second.models[MODEL].embedded, second.embedded_twice) == (0, 0)
        assert embedded(log_of(job)) - made <= MEASURE
        assert_as_inline(night("a", "b", "c"))
