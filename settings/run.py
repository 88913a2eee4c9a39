"""`[run]`: what a run does unless its flags say otherwise."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from settings.group import Group, LocalPath

DEVICE = r"^(auto|cpu|gpu|cuda(:\d+)?)$"
DEADLINE = r"^([01]\d|2[0-3]):[0-5]\d$|^\d+(\.\d+)?[smh]$"
WORDS = {
    DEVICE: "Expected auto, cpu, gpu, cuda or cuda:N",
    DEADLINE: "Expected a time such as 06:00, or a span such as 90m",
}
"""What is said instead of a pattern."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class RunSettings(Group):
    """Defaults of `pixelmill run`. `decode` None keeps what a matrix was made with, and is "fast" for a new one."""

    sources: tuple[str, ...] = ()
    models: Annotated[tuple[str, ...], NoDecode] = ("efficientnet_lite0",)
    store: LocalPath = Path("pixelmill-store")
    device: str = Field("auto", pattern=DEVICE)
    batch_size: int = Field(32, ge=1)
    shard_size: int = Field(4096, ge=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    decode: Literal["fast", "reference"] | None = None
    vector_dtype: Literal["float32", "float16"] = "float32"
    threads: int = Field(default_factory=lambda: max(os.cpu_count() or 1, 2), ge=1)
    deadline: str | None = Field(None, pattern=DEADLINE)
    max_failure_rate: float = Field(0.05, ge=0, le=1)
    keep_generations: int = Field(1, ge=0)
    paranoid: bool = False
    fan_out: Literal["inline", "workers", "dask", "ray"] = "inline"
    cluster: str | None = None
    cluster_size: int = Field(2, ge=1)
    worker_start_seconds: float = Field(300.0, gt=0)
    missing_device: Literal["fail", "cpu"] = "fail"

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def parse_deadline(text: str, now: datetime) -> datetime:
    """The moment that "06:00" (the next one on the clock of `now`) or "90m", "2h", "30s" (from `now`) names."""
    if re.fullmatch(DEADLINE, text) is None:
        raise ValueError(f"Expected a deadline such as 06:00 or 90m. Got {text!r}.")
    if ":" in text:
        hour, minute = map(int, text.split(":"))
        moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return moment if moment > now else moment + timedelta(days=1)
    return now + timedelta(seconds=float(text[:-1]) * _SECONDS[text[-1]])
