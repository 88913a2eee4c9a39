"""`[[workers]]`: who shares the work of a run with `fan_out = "workers"`."""

from __future__ import annotations

from pydantic import Field

from pixelmill.run.options import DEVICE
from settings.group import Group


class WorkerSettings(Group):
    """One process with one device, started through Prefect's `work_pool`. `memory_gb` keeps larger models off it."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    device: str = Field("auto", pattern=DEVICE)
    work_pool: str = "cpu"
    work_queue: str = "default"
    memory_gb: float | None = Field(None, gt=0)
