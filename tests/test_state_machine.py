"""Files come, change, move and go between runs; a plain dict says what each run must count and store."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from PIL import Image

from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.preprocess import Preprocessing, normalize, pixels
from pixelmill.job import CacheSpec, Job
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.verify import verify
from tests.support.library_run import run

PATHS = st.sampled_from(["a.png", "b.png", "sub/c.png", "sub/d.png", "z.png"])
CONTENTS = st.integers(0, 6)
BROKEN = 5
"""Contents from this number on cannot be decoded."""


class BlockMeans(EmbeddingModel):
    """The mean colour of each quarter of the picture, times a factor of its own: 12 dims. Counts what it is given."""

    seen = 0

    def __init__(self, spec: ModelSpec, sha256: str) -> None:
        half = (0.5, 0.5, 0.5)
        self.spec, self.weights_sha256 = spec, sha256
        self.preprocessing = Preprocessing(8, 8, half, half)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        BlockMeans.seen += len(pixels)
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1) * len(self.spec.name)


def content(number: int) -> bytes:
    """The bytes of a picture by its number; a few of them are broken."""
    from io import BytesIO

    random = np.random.default_rng(number)
    buffer = BytesIO()
    Image.fromarray(random.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()[:60] + b"broken" if number >= BROKEN else buffer.getvalue()


class Collection(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.photos = self.folder / "photos"
        self.photos.mkdir()
        (self.folder / "weights").write_bytes(b"weights")
        self.patch = mock.patch("pixelmill.work.load_file", lambda spec, file, **_: BlockMeans(spec, file.sha256))
        self.patch.start()
        self.files: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.known: set[int] = set()
        self.done: dict[str, set[int]] = {"one": set(), "second": set()}
        self.clock = 10**18

    def teardown(self) -> None:
        self.patch.stop()
        shutil.rmtree(self.folder)

    @rule(path=PATHS, number=CONTENTS)
    def write(self, path: str, number: int) -> None:
        """Add a file, change it, or write the same content again."""
        file = self.photos / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content(number))
        self.clock += 1
        os.utime(file, ns=(self.clock, self.clock))
        self.files[path] = number

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=PATHS, copy=st.booleans())
    def move_or_copy(self, data: st.DataObject, to: str, copy: bool) -> None:
        """To a free name or over another file, keeping the times, as `mv` and `cp -p` do."""
        source = data.draw(st.sampled_from(sorted(self.files)))
        if source == to:
            return
        (self.photos / to).parent.mkdir(exist_ok=True)
        (shutil.copy2 if copy else os.replace)(self.photos / source, self.photos / to)
        self.files[to] = self.files[source] if copy else self.files.pop(source)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.files)))
        (self.photos / path).unlink()
        del self.files[path]

    @precondition(lambda self: self.told)
    @rule()
    def compact(self) -> None:
        with StoreWriter(self.folder / "store") as writer:
            compact(writer, retention=0)

    @rule(models=st.sampled_from([("one",), ("second",), ("one", "second")]))
    def run(self, models: tuple[str, ...]) -> None:
        """The report counts what the dict says, the store holds it, and nothing is embedded twice."""
        expected = self.expected_counts()
        wanted = {m: {c for c in self.files.values() if c < BROKEN} - self.done[m] for m in models}
        before = BlockMeans.seen
        report = run(self.job(models))
        assert report["images"] == expected
        for model, contents in wanted.items():
            if model in report["models"]:
                assert report["models"][model]["embedded"] == len(contents)
                assert report["models"][model]["pending"] == 0
            else:
                assert not contents
            self.done[model] |= contents
        assert BlockMeans.seen - before == sum(map(len, wanted.values()))
        self.known |= set(self.files.values())
        if self.files or not self.told:
            self.told = dict(self.files)
        self.check_store()

    def expected_counts(self) -> dict[str, int]:
        counts = dict.fromkeys(("seen", "new", "changed", "moved", "duplicate", "removed", "quarantined"), 0)
        now, told = self.files, self.told
        if told and not now:
            return counts
        gone = [told[path] for path in told if path not in now]
        for path in sorted(now):
            if path in told:
                counts["changed"] += now[path] != told[path]
        for number in sorted(set(now.values())):
            arrivals = [path for path in now if now[path] == number and path not in told]
            if not arrivals:
                continue
            if any(now[path] == number for path in now if path in told):
                counts["duplicate"] += len(arrivals)
                continue
            counts["duplicate"] += len(arrivals) - 1
            counts["moved" if number in self.known else "new"] += 1
            if number in self.known and number in gone:
                gone.remove(number)
        counts["removed"] = len(gone)
        counts["seen"] = len(now)
        counts["quarantined"] = sum(number >= BROKEN for number in now.values())
        return counts

    def check_store(self) -> None:
        """Plain h5py finds each content once, its vectors right and NaN elsewhere, and its path where it is now."""
        assert verify(self.folder / "store") == []
        with h5py.File(self.folder / "store" / "vectors.h5") as file:
            rows = {bytes(sha): i for i, sha in enumerate(file["images/sha256"][:])}
            paths = list(file["images/path"].asstr()[:])
            matrices = {name: dataset[:] for name, dataset in file.get("vectors", {}).items()}
        assert set(rows) == {hashlib.sha256(content(number)).digest() for number in self.known}
        for number in self.known:
            row = rows[hashlib.sha256(content(number)).digest()]
            holders = [path for path in self.told if self.told[path] == number]
            assert paths[row] in (holders or [""])
            for model, matrix in matrices.items():
                if number in self.done[model]:
                    np.testing.assert_allclose(matrix[row], expected_vector(number, model), rtol=1e-5, atol=1e-6)
                else:
                    assert np.isnan(matrix[row]).all()

    def job(self, models: tuple[str, ...]) -> Job:
        specs: list[Any] = [spec_of(name, self.folder) for name in models]
        return Job(
            sources=(str(self.photos),), store=self.folder / "store", specs=tuple(specs), batch_size=2, shard_size=2,
            cache=CacheSpec(cache_dir=self.folder / "cache"), device="cpu", precision="float32",
            max_pixels=10**6, max_aspect=100.0, max_bytes=10**6,
        )  # fmt: skip


def spec_of(name: str, folder: Path) -> ModelSpec:
    return ModelSpec(
        name=name, backend="timm", architecture=name, pretrained="", dim=12, image_size=8, parameters=0, licence="none",
        weights=WeightsSource(f"file:{folder}/weights"),
    )  # fmt: skip


def expected_vector(number: int, model: str) -> np.ndarray:
    picture = decode_image(content(number), DecodeOptions(), shortest=None).image
    fresh = BlockMeans(spec_of(model, Path()), "")
    seen = BlockMeans.seen
    batch = torch.from_numpy(np.array(pixels(picture, fresh.preprocessing))[None])
    vector: np.ndarray = fresh.encode_image(normalize(batch, fresh.preprocessing, torch.float32))[0].numpy()
    BlockMeans.seen = seen
    return vector


TestCollection = Collection.TestCase
TestCollection.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
class TestCollectionForLong(Collection.TestCase):  # type: ignore[name-defined, misc]
    """The same, over many more and longer histories."""

    settings = settings(
        max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
