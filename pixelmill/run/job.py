"""What one run is asked to do, in a form that travels between processes."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pixelmill.models.base import ModelSpec
from pixelmill.models.weights import WeightsCache
from pixelmill.run.options import ImageOptions, RunOptions


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


class Job(RunOptions, ImageOptions):
    """A run's sources, models and choices, after flags, variables and files have been put together.

    `devices` names another device for some models. `deadline` is in Unix seconds. `gallery` is the address that reports
    link to.
    """

    sources: tuple[str, ...]
    store: Path
    specs: tuple[ModelSpec, ...]
    cache: CacheSpec
    devices: dict[str, str] = Field(default_factory=dict)
    deadline: float | None = None
    workers: tuple[Worker, ...] = ()
    gallery: str | None = None

    @property
    def parallel(self) -> int:
        """How many processes share the work."""
        return {"inline": 1, "workers": len(self.workers)}.get(self.fan_out, self.cluster_size)
