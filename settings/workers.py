"""`[[workers]]`: who shares the work of a run with `fan_out = "workers"`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from pixelmill.run.options import DEVICE
from pixelmill.travel.mapping import checked_paths
from settings.group import Group, in_words


class WorkerSettings(Group):
    """One process with one device, started through Prefect's `work_pool`. `memory_gb` keeps larger models off it;
    `paths` say where it sees what the run calls by another path or address."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    device: str = Field("auto", pattern=DEVICE)
    work_pool: str = "cpu"
    work_queue: str = "default"
    memory_gb: float | None = Field(None, gt=0)
    paths: Annotated[dict[str, str], AfterValidator(partial(in_words, checked_paths))] = Field(default_factory=dict)
