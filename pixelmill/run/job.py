"""What one run is asked to do, in a form that travels between processes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pixelmill.images.decode import DecodeOptions
from pixelmill.models.base import ModelSpec
from pixelmill.models.weights import WeightsCache

Precision = Literal["float32", "bfloat16", "float16"]


class CacheSpec(BaseModel):
    """Where weights are kept and come from; see `WeightsCache`."""

    model_config = ConfigDict(frozen=True)

    cache_dir: Path
    mirrors: dict[str, str] = {}
    offline: bool = False

    def open(self) -> WeightsCache:
        return WeightsCache(self.cache_dir, self.mirrors, self.offline)


class Worker(BaseModel):
    """A process with one device. `work_pool` and `work_queue` are Prefect's; `memory_gb` is the device's, if known."""

    model_config = ConfigDict(frozen=True)

    name: str
    device: str = "auto"
    work_pool: str = "cpu"
    work_queue: str = "default"
    memory_gb: float | None = None


class Job(BaseModel):
    """A run's sources, models and choices, after flags, variables and files have been put together.

    `precision` "auto" and `decode` None keep what a model's matrix was made with; for a new matrix they mean the
    fastest precision that holds, and "fast". `devices` names another device for some models.
    `deadline` is in Unix seconds. `fan_out` says who does the work: this process, `workers`, or a Dask or Ray `cluster`
    (its address; None: one of `cluster_size` processes on this machine). `missing_device`: what to do without a GPU
    that was asked for. `gallery` is the address that reports link to.
    """

    model_config = ConfigDict(frozen=True)

    sources: tuple[str, ...]
    store: Path
    specs: tuple[ModelSpec, ...]
    cache: CacheSpec
    device: str = "auto"
    devices: dict[str, str] = {}
    batch_size: int = 32
    shard_size: int = 4096
    threads: int = 2
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    decode: Literal["fast", "reference"] | None = None
    vector_dtype: Literal["float32", "float16"] = "float32"
    exif_orientation: bool = True
    background: Literal["white", "none"] = "white"
    max_pixels: int
    max_aspect: float
    max_bytes: int
    max_seconds: float = 60.0
    max_failure_rate: float = 0.05
    deadline: float | None = None
    paranoid: bool = False
    fan_out: Literal["inline", "workers", "dask", "ray"] = "inline"
    workers: tuple[Worker, ...] = ()
    cluster: str | None = None
    cluster_size: int = 2
    worker_start_seconds: float = 300.0
    missing_device: Literal["fail", "cpu"] = "fail"
    gallery: str | None = None

    @property
    def parallel(self) -> int:
        """How many processes share the work."""
        return {"inline": 1, "workers": len(self.workers)}.get(self.fan_out, self.cluster_size)

    def decode_options(self, decode: Literal["fast", "reference"]) -> DecodeOptions:
        """How this job decodes for matrices made in mode `decode`."""
        return DecodeOptions(
            decode=decode,
            exif_orientation=self.exif_orientation,
            background=self.background,
            max_pixels=self.max_pixels,
            max_aspect=self.max_aspect,
            max_bytes=self.max_bytes,
            max_seconds=self.max_seconds,
        )
