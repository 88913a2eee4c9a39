"""Decoding alone: by the sandbox's processes, as a run does it, and by the GPU's decoder (nvJPEG)."""

from __future__ import annotations

import warnings
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.cells import Cells, Figure, Key, Setting
from benchmarks.gpu.models import spec_of, wait
from pixelmill.bench import rate
from pixelmill.embedding.targets import Target
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.preprocess import Preprocessing
from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.malloc import keep_freed
from pixelmill.models.base import EmbeddingModel
from pixelmill.models.load import instantiate
from pixelmill.pipeline import Pipeline
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile

TABLE = "decode"
_FINGERPRINT = "gpu"
_FOR_EACH_THREAD = 64
"""Pictures of one turn."""
_BATCH = 32
"""Pictures that nvJPEG is given at once."""
_COMPARED = 4


def cells(setting: Setting) -> Cells:
    """Images/s by the size of pictures, for an input of the first model's size."""
    ways = {
        sandbox_row(setting): _in_sandbox,
        "nvJPEG, whole pictures": _whole,
        "nvJPEG, resized and cropped there": _resized,
    }
    return {
        Key(TABLE, row, title): partial(measure, setting, title)
        for row, measure in ways.items()
        for title in setting.sizes
    }


def sandbox_row(setting: Setting) -> str:
    """The row of what a run decodes by."""
    return f"the sandbox, {setting.threads} processes"


def decoded(device: str, jpegs: list[bytes]) -> list[torch.Tensor]:
    """The pictures on a device, uint8 (3, height, width) each; on a GPU by nvJPEG."""
    from torchvision.io import ImageReadMode, decode_jpeg

    files = [torch.from_numpy(np.frombuffer(jpeg, dtype=np.uint8).copy()) for jpeg in jpegs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torchvision sends people to TorchCodec
        pictures: list[torch.Tensor] = decode_jpeg(files, ImageReadMode.RGB, device=device)
    return pictures


def cropped(picture: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Resized and cropped as the model wants it, where the picture is."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import center_crop, resize

    small = resize(picture, [preprocessing.resize], InterpolationMode(preprocessing.interpolation), antialias=True)
    made: torch.Tensor = center_crop(small, [preprocessing.image_size])
    return made


def _in_sandbox(setting: Setting, title: str) -> Figure:
    keep_freed()  # as a run does
    target = Target(_model(setting), _FINGERPRINT)
    pipeline = Pipeline([target], DecodeOptions(), batch_size=setting.batches[-1], threads=setting.threads)
    files = _files(setting, title, _FOR_EACH_THREAD * setting.threads)
    ahead = 2 * setting.batches[-1]

    def work() -> int:
        prepared = pipeline.reader.prepared(
            files, lambda _sha256: frozenset({_FINGERPRINT}), ahead=ahead, stop=lambda: False
        )
        return sum(len(one.inputs) for one in prepared)

    return Figure(rate(work, setting.seconds))


def _whole(setting: Setting, title: str) -> Figure:
    setting.need_cuda()
    return Figure(_on_gpu(setting, title, None))


def _resized(setting: Setting, title: str) -> Figure:
    setting.need_cuda()
    preprocessing = _model(setting).preprocessing
    grey_levels = difference(setting.device, _read(_files(setting, title, _COMPARED)), preprocessing)
    return Figure(_on_gpu(setting, title, preprocessing), note=f"{grey_levels:.1f} grey levels from ours")


def _on_gpu(setting: Setting, title: str, preprocessing: Preprocessing | None) -> float:
    """Images/s, reading included."""
    files = _files(setting, title, 8 * _BATCH)

    def work() -> int:
        for at in range(0, len(files), _BATCH):
            pictures = decoded(setting.device, _read(files[at : at + _BATCH]))
            if preprocessing:
                torch.stack([cropped(picture, preprocessing) for picture in pictures])
        wait(setting)
        return len(files)

    return rate(work, setting.seconds)


def difference(device: str, jpegs: list[bytes], preprocessing: Preprocessing) -> float:
    """The mean distance, in grey levels, of what a model would be given by the device's decoder from what a run
    gives it."""
    theirs = [cropped(picture, preprocessing).permute(1, 2, 0).cpu().numpy() for picture in decoded(device, jpegs)]
    distances = []
    for jpeg, pixels in zip(jpegs, theirs, strict=True):
        ours = decode_in_sandbox(jpeg, DecodeOptions(), shortest=preprocessing.resize, wanted=[preprocessing])
        distances.append(np.abs(ours.arrays[0].astype(int) - pixels).mean())
    return float(np.mean(distances))


@cache
def _model(setting: Setting) -> EmbeddingModel:
    return instantiate(spec_of(setting.models[0]))


def _files(setting: Setting, title: str, most: int) -> list[FoundFile]:
    return list(discover([str(setting.photos(title))]))[:most]


def _read(files: list[FoundFile]) -> list[bytes]:
    return [Path(file.absolute).read_bytes() for file in files]
