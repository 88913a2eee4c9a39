"""Clusters by address, whose workers see neither the store nor, where the pictures are in S3, their folder: the store
holds what one process makes, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from pixelmill.run.direct import run_here
from pixelmill.run.job import Job
from tests.remote.backend import LOG, embedded, spec_of
from tests.remote.clusters import Cluster, Dask, Ray
from tests.remote.conftest import IMAGES, MODEL
from tests.support.namespace import Namespace
from tests.support.s3 import S3

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@contextmanager
def cluster(kind: str, job: Job, env: dict[str, str], hidden: list[Path], s3: S3 | None) -> Iterator[Cluster]:
    """Two workers on another machine, which log what they embed; those of Ray are in a network of their own."""
    folder = job.store.parent
    ports = [s3.port] if s3 else []
    variables = {LOG: str(folder / "embedded.log")} | (s3.environment if s3 else {})
    if kind == "dask":
        with Namespace(hidden=hidden) as there, Dask(folder, env) as dask:
            for name in ("one", "two"):
                dask.worker(name, there, **variables)
            dask.wait(2)
            yield dask
        return
    with Namespace(hidden=hidden, ports=ports, network=True) as there, Ray(folder, env, there.host) as ray:
        ray.worker("one", there, **variables)
        ray.wait(1)
        yield ray


@pytest.mark.parametrize("kind", ["dask", "ray"])
@pytest.mark.parametrize("place", ["a folder", "S3"])
def test_as_one_process(
    kind: str, place: str, job: Job, env: dict[str, str], s3_server: S3, assert_as_inline: Callable[[Job], None]
) -> None:
    """The workers cannot open the store, and the second night there is nothing to do for them."""
    hidden, s3 = [job.store], None
    if place == "S3":
        s3, photos = s3_server, job.store.parent / "photos"
        files = fsspec.filesystem("s3")
        files.mkdirs(f"remote-{kind}", exist_ok=True)
        files.put(str(photos), f"remote-{kind}/photos", recursive=True)
        job, hidden = job.model_copy(update={"sources": (f"s3://remote-{kind}/photos",)}), [job.store, photos]
    with cluster(kind, job, env, hidden, s3) as given:
        job = job.model_copy(update={"fan_out": kind, "cluster": given.address})
        report = run_here(job)
        assert not report.warnings
        assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (IMAGES, 0)
        made = embedded(job.store.parent / "embedded.log")
        assert made >= IMAGES, "others did it"
        assert run_here(job).models[MODEL].embedded == 0
        assert embedded(job.store.parent / "embedded.log") == made
    assert_as_inline(job)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_an_answer_of_more_than_64_megabytes(
    kind: str, job: Job, env: dict[str, str], assert_as_inline: Callable[[Job], None]
) -> None:
    """All vectors of a run come back in one answer of 100 MB."""
    long = spec_of(MODEL, job.store.parent, 2**20)
    job = job.model_copy(update={"specs": (long,), "shard_size": IMAGES})
    with cluster(kind, job, env, [job.store], None) as given:
        run_here(job.model_copy(update={"fan_out": kind, "cluster": given.address}))
    assert_as_inline(job)
