"""What a run has others do arrives as it was said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pixelmill.plan import Shard
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.measure import Measure
from pixelmill.run.orders import RunOrders, Unsettled
from pixelmill.sources.found import FoundFile
from pixelmill.store.manifest import Matrix
from tests.support.models import spec_of
from tests.support.stores import provenance

NAME = os.fsdecode(b"caf\xe9.jpg")
FILES = (FoundFile("/photos", NAME, 1, 2, 3), FoundFile("s3://bucket/b", "2.jpg", 0, 0, 0))


def measure(seed: int) -> Measure:
    random = np.random.default_rng(seed)
    contents, vectors = random.integers(0, 256, (2, 32), dtype=np.uint8), random.random((2, 3), dtype=np.float32)
    return Measure(FILES, contents, vectors)


def assert_same(found: Sequence[Measure], sent: Sequence[Measure]) -> None:
    for one, other in zip(found, sent, strict=True):
        assert (one.files, one.is_new) == (other.files, other.is_new)
        np.testing.assert_array_equal(one.contents, other.contents)
        np.testing.assert_array_equal(one.vectors, other.vectors)


def test_orders_arrive_as_they_were_given(tmp_path: Path) -> None:
    """Job, matrices, measures, shards, shares and what is to be settled, with names that are no UTF-8; not the sources,
    the words and where rows lie, which nobody else needs."""
    (tmp_path / "weights").write_bytes(b"weights")
    workers = (Worker(name="gpu0", paths={"/photos": "/mnt/nas"}), Worker(name="gpu1", device="cuda:1"))
    job = Job(
        sources=(f"/photos/{NAME}",), store=tmp_path / "store", specs=(spec_of("a", tmp_path), spec_of("b", tmp_path)),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), fan_out="workers", workers=workers,
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    one, other = (Matrix(provenance=provenance(model), dtype="float16", serving=True) for model in "ab")
    sent = RunOrders(
        job, "store-1", 7, matrices=(one,),
        measures={one.provenance.fingerprint: measure(1), "new": Measure(is_new=True)},
        shards=(Shard(0, 0, 10), Shard(2, 10, 5)),
        shares={"gpu0": {0: ("a",), 2: ("a", "b")}, "gpu1": {2: ("b",)}},
        settling={"gpu1": (Unsettled("b", ((other, measure(2)), (one, measure(3))), FILES), Unsettled("c"))},
        schedule="15 images", left_out=("dask, process 7 on a",),
    )  # fmt: skip
    found = RunOrders.of_message(sent.message())
    assert found.job == job.model_copy(update={"sources": ()})
    assert (found.store_id, found.scan, found.matrices) == ("store-1", 7, (one,))
    assert (found.shards, found.shares, found.left_out) == (sent.shards, sent.shares, sent.left_out)
    assert found.workers == sent.workers == ["gpu1", "gpu0"]
    assert_same(list(found.measures.values()), list(sent.measures.values()))
    assert found.measures.keys() == sent.measures.keys()
    for asked, was in zip(found.settling["gpu1"], sent.settling["gpu1"], strict=True):
        assert (asked.model, asked.samples) == (was.model, was.samples)
        assert [matrix for matrix, _ in asked.found] == [matrix for matrix, _ in was.found]
        assert_same([measure for _, measure in asked.found], [measure for _, measure in was.found])
