"""One delivery of `[[deliveries]]`: which vectors and columns go where, under which name."""

from __future__ import annotations

import os
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

NAME: Final = r"^[a-z][a-z0-9_]{2,39}$"
"""What a delivery may be called."""
ALWAYS: Final = ("row", "path", "source", "sha256")
"""What every delivery has beside its vectors."""
OWN: Final = (*ALWAYS, "digest", "vector")
"""Names in a target that no column may take."""
VARIABLE: Final = "PIXELMILL_PASSWORD_"
"""How the variable begins that holds the password, key or token of a target; the delivery's name follows in
capitals."""


class Delivery(BaseModel):
    """A mirror of a store in another place, kept under `name`: the table, collection or folder of that name `to` which
    it goes. Its vectors are those of `models` side by side, or of an ensemble's name; `columns` of the store go with
    them. `where` limits it to rows that fulfil a condition. A run fails with it if it is `required`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    to: str
    models: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...] = ()
    normalize: bool = False
    where: str | None = None
    required: bool = False

    @field_validator("columns")
    @classmethod
    def _of_different_names(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        fields = [field_of(column) for column in columns]
        for column, field in zip(columns, fields, strict=True):
            if field in OWN:
                raise ValueError(f"Expected columns beside {', '.join(OWN)}, which every delivery has. Got {column!r}")
            if fields.count(field) > 1:
                raise ValueError(f"Expected columns of different names in the target. Got {field!r} twice")
        return columns

    @property
    def password(self) -> str | None:
        """What lets in, of this process's environment; None: what the target's own configuration says. A line that
        ends behind it, as in a file that it was read from, is no part of it."""
        return os.environ.get(f"{VARIABLE}{self.name.upper()}", "").rstrip("\r\n") or None


def field_of(column: str) -> str:
    """The name of a column in a target: letters, digits and `_`, for there are databases that take no others."""
    field = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in column)
    return field if field[:1].isalpha() or field[:1] == "_" else f"_{field}"
