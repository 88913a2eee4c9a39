"""A run of pictures and a model, for clusters that the tests start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelmill.run.direct import run_here
from pixelmill.run.job import CacheSpec, Job
from pixelmill.store.verify import verify
from tests.conftest import SavePicture
from tests.remote.backend import environment, spec_of

IMAGES, MODEL = 24, "one"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of what the test starts."""
    return environment(tmp_path)


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    """A run in this process over 24 pictures, four a shard, in a folder of their own."""
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / f"{seed:02}.png", seed, (16, 16))
    (tmp_path / "store").mkdir()
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of(MODEL, tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "weights-cache"), device="cpu", precision="float32", batch_size=4, threads=1,
        shard_size=4,
    )  # fmt: skip


Stored = dict[bytes, bytes]


def stored(store: Path, model: str = MODEL) -> Stored:
    """The vectors by the sha256 of their pictures, as plain h5py reads them; each content once, without a gap."""
    with h5py.File(store / "vectors.h5") as file:
        contents, vectors = file["images/sha256"][:], file[f"vectors/{model}"][:]
    assert not np.isnan(vectors).any()
    found = {content.tobytes(): vector.tobytes() for content, vector in zip(contents, vectors, strict=True)}
    assert len(found) == len(contents), "a content twice"
    return found


@pytest.fixture
def assert_as_inline(tmp_path: Path) -> Callable[[Job], None]:
    """The store of a job is sound, and holds bit for bit what a run in this process makes of the same sources."""

    def check(job: Job) -> None:
        alone = job.model_copy(update={"store": tmp_path / "inline", "fan_out": "inline", "cluster": None})
        run_here(alone)
        assert stored(job.store) == stored(alone.store) != {}
        assert verify(job.store) == []

    return check
