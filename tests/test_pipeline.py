"""The pipeline: real batches, one decode an image, and what one bad image, model or moment may cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixelmill.embedding import embedder, inputs, reader
from pixelmill.embedding.precision import PrecisionFound, fastest_precision
from pixelmill.embedding.progress import telling
from pixelmill.embedding.shard import Result
from pixelmill.embedding.targets import Target
from pixelmill.embedding.transfer import Collect, Feed
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.preprocess import Preprocessing
from pixelmill.images.sandbox import Pixels, decode_in_sandbox
from pixelmill.pipeline import Pipeline
from pixelmill.sources.found import FoundFile
from pixelmill.watch.calls import answer
from tests.conftest import SavePicture
from tests.support.models import BlockMeans, Limited, spec_of


@pytest.fixture
def files(tmp_path: Path, save_picture: SavePicture) -> list[FoundFile]:
    """Ten pictures."""
    for seed in range(10):
        save_picture(tmp_path / f"{seed}.png", seed, (16, 16))
    return [FoundFile(str(tmp_path), f"{seed}.png", 0, 0, 0) for seed in range(10)]


def run(files: list[FoundFile], *models: BlockMeans, batch_size: int = 4) -> tuple[Pipeline, Result]:
    targets = [Target(model, model.spec.name) for model in models]
    names = frozenset(target.fingerprint for target in targets)
    pipeline = Pipeline(targets, DecodeOptions(), batch_size=batch_size, threads=2)
    return pipeline, pipeline.run(files, lambda _sha256: names)


def test_batches_are_real(files: list[FoundFile]) -> None:
    """A model is given full batches, and what is left over at the end."""
    model = Limited()
    run(files, model)
    assert model.batches == [4, 4, 2]


def test_out_of_memory_halves_the_batch_and_goes_on(files: list[FoundFile]) -> None:
    """A batch that does not fit is done in halves, later ones are small from the start, and every vector is right."""
    model, unlimited = Limited(most=2), Limited()
    pipeline, result = run(files, model, batch_size=8)
    _, expected = run(files, unlimited, batch_size=8)
    assert pipeline.embedder.batch_size == 2
    assert max(model.batches) == 2
    np.testing.assert_allclose(result.rows.vectors["one"].values, expected.rows.vectors["one"].values, rtol=1e-5)


def test_a_single_image_that_does_not_fit_is_an_error(files: list[FoundFile]) -> None:
    """Halving ends at one image: then the shard fails and says so."""
    with pytest.raises(torch.OutOfMemoryError):
        run(files, Limited(most=0))


def test_each_image_is_decoded_once_for_all_models(files: list[FoundFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models that share a worker share the decoding and, with one geometry, the pixels."""
    asked: list[int] = []

    def counted(*args: Any, wanted: list[Preprocessing], **kwargs: Any) -> Pixels:
        asked.append(len(wanted))
        return decode_in_sandbox(*args, wanted=wanted, **kwargs)

    monkeypatch.setattr(inputs, "decode_in_sandbox", counted)
    _, result = run(files, Limited("one"), Limited("second"))
    assert [len(result.rows.vectors[name].index) for name in ("one", "second")] == [10, 10]
    assert asked == [1] * 10


def test_a_vector_that_is_not_finite_costs_that_image_and_model_only(files: list[FoundFile]) -> None:
    """NaN never reaches the store; the reason names the model, and another model's vector of the image is kept."""

    class Overflows(Limited):
        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            values = super().encode_image(pixels)
            values[0, 3] = torch.inf
            return values

    _, result = run(files, Overflows("one"), Limited("second"), batch_size=10)
    assert len(result.rows.vectors["one"].index) == 9
    assert len(result.rows.vectors["second"].index) == 10
    assert [(f.stage, f.model) for f in result.rows.failures] == [("embed", "one")]


def test_a_bad_image_does_not_cost_its_batch(files: list[FoundFile]) -> None:
    """The others of the batch are embedded; the bad one has a stage and a reason."""
    Path(files[3].absolute).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    _, result = run(files, Limited())
    assert len(result.rows.vectors["one"].index) == 9
    assert [(f.path, f.stage) for f in result.rows.failures] == [(files[3].absolute, "decode")]


def test_what_may_pass_is_not_refused(files: list[FoundFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error, or a file that vanished, leaves the image for another time: it is not quarantined."""
    real = reader.read_image

    def failing(file: FoundFile, *, max_bytes: int) -> bytes:
        if file == files[2]:
            raise OSError(5, "Input/output error")
        return real(file, max_bytes=max_bytes)

    monkeypatch.setattr(reader, "read_image", failing)
    Path(files[7].absolute).unlink()
    _, result = run(files, Limited())
    assert [file for file, _ in result.unread] == [files[2], files[7]]
    assert result.rows.failures == []
    assert len(result.rows.vectors["one"].index) == 8


def test_stopping_finishes_what_was_read(files: list[FoundFile]) -> None:
    """After `stop` says so no further file is read, and what was read has its vectors."""
    answers = iter([False] * 3 + [True] * 100)
    model = Limited()
    pipeline = Pipeline([Target(model, "one")], DecodeOptions(), batch_size=4, threads=1)
    result = pipeline.run(files, lambda _sha256: frozenset({"one"}), stop=lambda: next(answers))
    assert result.read == 3
    assert len(result.rows.vectors["one"].index) == 3


def test_whoever_listens_is_told_of_what_is_embedded(files: list[FoundFile]) -> None:
    """Around a run, also when that is in a thread of its own: each batch by its model, and nothing after the block."""
    told: list[tuple[str, int]] = []
    with telling(lambda model, images: told.append((model, images))):
        answer(lambda: run(files, Limited("one")))
    run(files, Limited("one"))
    assert told == [("one", 4), ("one", 4), ("one", 2)]


class Paced(BlockMeans):
    """A model with a pace of its own in float32, and one below, where it may make other vectors; notes its batches."""

    def __init__(self, *, plain: float, lower: float, is_lossy: bool = False) -> None:
        super().__init__(spec_of("one", Path()), "")
        self.pauses, self.is_lossy = {torch.float32: plain, torch.bfloat16: lower}, is_lossy
        self.batches: list[tuple[torch.dtype, int]] = []

    def __deepcopy__(self, memo: dict[int, object]) -> Paced:
        other = Paced(plain=0.0, lower=0.0)
        other.__dict__ |= {"pauses": self.pauses, "is_lossy": self.is_lossy, "batches": self.batches}
        return other

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append((pixels.dtype, len(pixels)))
        time.sleep(self.pauses[pixels.dtype])
        values = super().encode_image(pixels.float())
        return values.flip(1) if self.is_lossy and pixels.dtype != torch.float32 else values


@pytest.mark.parametrize(
    ("model", "precision", "timed"),
    [
        (Paced(plain=0.03, lower=0.01), "bfloat16", True),
        (Paced(plain=0.01, lower=0.03), "float32", True),
        (Paced(plain=0.03, lower=0.001, is_lossy=True), "float32", False),
    ],
    ids=["faster", "slower", "lossy"],
)
def test_the_fastest_precision_that_holds_is_chosen(model: Paced, precision: str, timed: bool) -> None:
    """By its pace beside float32's; however fast one is, a cosine below 0.999 rules it out. What was found is told."""
    found = fastest_precision(model, pictures(40), batch_size=64)
    (tried,) = found.tried
    assert (found.precision, found.pictures, tried.precision) == (precision, 32, "bfloat16")
    assert (tried.speed is not None) == timed
    assert (tried.least_cosine >= 0.999) == timed
    if tried.speed:
        assert (tried.speed > 1.5) == (precision == "bfloat16")


@pytest.mark.parametrize(("batch_size", "pass_of"), [(64, [64]), (32, [32]), (8, [8] * 4), (24, [24] * 2)])
def test_a_precision_is_measured_in_batches_of_the_run(batch_size: int, pass_of: list[int]) -> None:
    """Full ones, of 32 pictures or as many more as it takes; a few pictures are repeated, and compared once each."""
    model = Paced(plain=0.0, lower=0.0, is_lossy=True)
    found = fastest_precision(model, pictures(3), batch_size=batch_size)
    assert model.batches == [(dtype, size) for dtype in (torch.float32, torch.bfloat16) for size in pass_of]
    assert (found.precision, found.pictures, found.batch_size) == ("float32", 3, batch_size)


def test_without_pictures_no_precision_is_measured() -> None:
    """It is float32 then."""
    model = Paced(plain=0.0, lower=0.0)
    assert fastest_precision(model, [], batch_size=32) == PrecisionFound("float32", 0, 32)
    assert model.batches == []


def pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(count)]


def test_a_device_is_given_the_next_batch_before_the_last_is_collected(
    files: list[FoundFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where embeddings come back later, as from a GPU, the next batch is on its way first; every vector is right."""
    happened: list[str] = []

    class Later(Feed):
        def __init__(self, device: torch.device) -> None:
            super().__init__(device)
            self.ahead = 1

        def to_device(self, batch: torch.Tensor) -> torch.Tensor:
            happened.append("given")
            return super().to_device(batch)

        def from_device(self, embeddings: torch.Tensor) -> Collect:
            def collect() -> np.ndarray:
                happened.append("collected")
                return embeddings.numpy()

            return collect

    _, expected = run(files, Limited())
    monkeypatch.setattr(embedder, "Feed", Later)
    _, result = run(files, Limited())
    assert happened == ["given", "given", "collected", "given", "collected", "collected"]
    np.testing.assert_array_equal(
        result.rows.vectors["one"].values[np.argsort(result.rows.vectors["one"].index)],
        expected.rows.vectors["one"].values[np.argsort(expected.rows.vectors["one"].index)],
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_on_a_gpu_are_those_of_the_cpu(files: list[FoundFile]) -> None:
    """What goes and comes through pinned memory on another stream is what the CPU gets, batch after batch."""
    model, there = Limited(), Limited()
    there.device = torch.device("cuda:0")
    there.module.to(there.device)
    _, expected = run(files * 20, model)
    _, result = run(files * 20, there)
    np.testing.assert_allclose(result.rows.vectors["one"].values, expected.rows.vectors["one"].values, rtol=1e-5)
