"""What a person may choose of a run: what settings validate, what a job holds, and what travels to workers."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field

from pixelmill.choices import (
    AskedPrecision,
    Background,
    Decode,
    FanOut,
    Frames,
    MissingDevice,
    MissingSource,
    VectorDtype,
)
from pixelmill.images.decode import DecodeOptions

SPAN = r"^\d+(\.\d+)?[smh]$"
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
DEVICE = r"^(auto|cpu|gpu|cuda(:\d+)?)$"
_DECODING = DecodeOptions()


def seconds_of(span: str) -> float:
    """How many seconds "90m", "2h" or "30s" are."""
    return float(span[:-1]) * _SECONDS[span[-1]]


class RunOptions(BaseModel):
    """How a run does its work.

    `precision` "auto" and `decode` None keep what a model's matrix was made with; for a new matrix they mean the
    fastest precision that holds, and "fast". A shard that takes longer than `commit_every` ("2m") is stored piece by
    piece. `fan_out` says who does the work: this process, `workers`, or a Dask or Ray `cluster` (its address; None: one
    of `cluster_size` processes on this machine). `facts`: make columns of what cameras wrote and pixels are like; None:
    in new stores, and in those that have them. `handover` is the folder or address where workers find their work and
    leave what they made; None: in the store. `missing_device`: what to do without a GPU that was asked for;
    `missing_source`: how a run ends that could not read a source, or much of it.
    `beside`: read what came with pictures; None: like `facts`, and where there are other columns.
    """

    model_config = ConfigDict(frozen=True)

    device: str = Field("auto", pattern=DEVICE)
    batch_size: int = Field(32, ge=1)
    shard_size: int = Field(4096, ge=1)
    commit_every: str = Field("2m", pattern=SPAN)
    precision: AskedPrecision = "auto"
    decode: Decode | None = None
    vector_dtype: VectorDtype = "float32"
    threads: int = Field(default_factory=lambda: max(os.cpu_count() or 1, 2), ge=1)
    max_failure_rate: float = Field(0.05, ge=0, le=1)
    paranoid: bool = False
    facts: bool | None = None
    beside: bool | None = None
    fan_out: FanOut = "inline"
    cluster: str | None = None
    cluster_size: int = Field(2, ge=1)
    handover: str | None = None
    worker_start_seconds: float = Field(300.0, gt=0)
    missing_device: MissingDevice = "fail"
    missing_source: MissingSource = "warn"

    @property
    def commit_seconds(self) -> float:
        """Of `commit_every`."""
        return seconds_of(self.commit_every)


class ImageOptions(BaseModel):
    """What counts as an image, and how it becomes pixels; see `DecodeOptions`.

    `exif_orientation`, `background` and `frames` are part of a matrix's fingerprint; the limits are not.
    """

    model_config = ConfigDict(frozen=True)

    exif_orientation: bool = _DECODING.exif_orientation
    background: Background = _DECODING.background
    frames: Frames = _DECODING.frames
    max_pixels: int = Field(_DECODING.max_pixels, ge=1)
    max_aspect: float = Field(_DECODING.max_aspect, ge=1)
    max_bytes: int = Field(_DECODING.max_bytes, ge=1)
    max_seconds: float = Field(_DECODING.max_seconds, gt=0)

    def decode_options(self, decode: Decode) -> DecodeOptions:
        """How files are decoded for matrices made in mode `decode`."""
        images = {name: getattr(self, name) for name in ImageOptions.model_fields}
        return DecodeOptions(decode=decode, **images)
