"""`[run]`: what a run does unless its flags say otherwise."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from pixelmill.paths import local_path
from pixelmill.run.options import DEVICE, SPAN, RunOptions, seconds_of
from pixelmill.sources.address import checked_address, is_address, is_http, shown
from settings.group import Group, LocalPath, in_words

DEADLINE = r"^([01]\d|2[0-3]):[0-5]\d$|^\d+(\.\d+)?[smh]$"
WORDS = {
    DEVICE: "Expected auto, cpu, gpu, cuda or cuda:N",
    DEADLINE: "Expected a time such as 06:00, or a span such as 90m",
    SPAN: "Expected a span such as 2m",
}
"""What is said instead of a pattern."""


class RunSettings(RunOptions, Group):
    """Defaults of `pixelmill run`, and what it looks at."""

    sources: tuple[str, ...] = ()
    models: Annotated[tuple[str, ...], NoDecode] = ("efficientnet_lite0",)
    store: LocalPath = Path("pixelmill-store")
    deadline: str | None = Field(None, pattern=DEADLINE)
    keep_generations: int = Field(1, ge=0)

    @property
    def options(self) -> dict[str, Any]:
        """What a job takes over as it is."""
        return self.model_dump(include=set(RunOptions.model_fields))

    @field_validator("handover")
    @classmethod
    def _found_from_anywhere(cls, place: str | None) -> str | None:
        return None if place is None else in_words(_place, place)

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _place(given: str) -> str:
    """A folder as workers in other folders find it, or an address that can be written to and that tells no password."""
    if not is_address(given):
        return str(local_path(given).absolute())
    if is_http(given):
        raise ValueError(
            f"Expected a folder, or an address such as s3://bucket/handover. HTTP takes no files: {shown(given)}"
        )
    return checked_address(given).rstrip("/")


def parse_deadline(text: str, now: datetime) -> datetime:
    """The moment that "06:00" (the next one on the clock of `now`) or "90m", "2h", "30s" (from `now`) names. `now` is
    when the run begins, or was to begin: the deadline of a night that begins late may be over by then."""
    if re.fullmatch(DEADLINE, text) is None:
        raise ValueError(f"Expected a deadline such as 06:00 or 90m. Got {text!r}.")
    if ":" in text:
        hour, minute = map(int, text.split(":"))
        moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return moment if moment > now else moment + timedelta(days=1)
    return now + timedelta(seconds=seconds_of(text))
