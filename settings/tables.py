"""`[[tables]]`: what people know of pictures, and is joined to them."""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator

from pixelmill.joining.table import Table, checked_place
from pixelmill.sources.address import is_address
from settings.group import Group, in_words


class TableSettings(Table, Group):
    """A table here or at an address. `key` says by what its lines belong to pictures; the column that has it is called
    so, or `on`. `columns` are those that are joined; unset: all others."""

    @field_validator("path")
    @classmethod
    def _found(cls, path: str) -> str:
        place = in_words(checked_place, path)
        return place if is_address(place) else str(Path(place).absolute())
