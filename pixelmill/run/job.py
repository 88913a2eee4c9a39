"""What one run is asked to do, in a form that travels between processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pixelmill.deliver.delivery import Delivery
from pixelmill.heads.head import Head
from pixelmill.joining.table import Table
from pixelmill.models.base import ModelSpec
from pixelmill.models.weights import WeightsCache
from pixelmill.paths import cache_folder
from pixelmill.run.options import ImageOptions, RunOptions
from pixelmill.run.variables import weights_variables
from pixelmill.travel.mapping import SeenPaths, seen_here_path


class CacheSpec(BaseModel):
    """Where weights are kept and come from; see `WeightsCache`. `cache_dir` None: where caches are kept by whoever
    opens it."""

    model_config = ConfigDict(frozen=True)

    cache_dir: Path | None = None
    mirrors: dict[str, str] = {}
    offline: bool = False

    def here(self, paths: Mapping[str, str]) -> CacheSpec:
        """As it counts on a worker's machine: that machine's variables come first, and what the run named is looked for
        where `paths` say that the worker sees it. Raises SettingsError for a variable that does not fit."""
        named = self.cache_dir and Path(seen_here_path(str(self.cache_dir), paths))
        mirrors = {host: seen_here_path(place, paths) for host, place in self.mirrors.items()}
        return self.model_copy(update={"cache_dir": named, "mirrors": mirrors} | weights_variables())

    def open(self) -> WeightsCache:
        return WeightsCache(self.cache_dir or cache_folder("weights"), self.mirrors, self.offline)


class Worker(BaseModel):
    """A process with one device. `work_pool` and `work_queue` are Prefect's; `memory_gb` is the device's, if known;
    `paths` say where it sees what the run calls by another path or address."""

    model_config = ConfigDict(frozen=True)

    name: str
    device: str = "auto"
    work_pool: str = "cpu"
    work_queue: str = "default"
    memory_gb: float | None = None
    paths: SeenPaths = {}


class Job(RunOptions, ImageOptions):
    """A run's sources, models and choices, after flags, variables and files have been put together.

    `devices` names another device for some models. `deadline` is in Unix seconds. `tables` are joined to the rows,
    `heads` filled, and `deliveries` made, by whoever coordinates the run. `gallery` is the address that reports link
    to.
    """

    sources: tuple[str, ...]
    store: Path
    specs: tuple[ModelSpec, ...]
    cache: CacheSpec
    devices: dict[str, str] = Field(default_factory=dict)
    deadline: float | None = None
    workers: tuple[Worker, ...] = ()
    tables: tuple[Table, ...] = ()
    heads: dict[str, Head] = Field(default_factory=dict)
    deliveries: tuple[Delivery, ...] = ()
    gallery: str | None = None

    @property
    def handover_place(self) -> str:
        """The folder or address where run and workers meet."""
        return self.handover or os.fspath(self.store.absolute() / "runs")

    @property
    def parallel(self) -> int:
        """How many processes share the work."""
        return {"inline": 1, "workers": len(self.workers)}.get(self.fan_out, self.cluster_size)
