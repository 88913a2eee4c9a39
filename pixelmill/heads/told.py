"""What there is to tell of a head in a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeInt


class HeadReport(BaseModel):
    """A head of the settings: in how many `rows` its columns were filled in this run, and how many that have a vector
    are `pending`; whether it `is_anew`, by another definition or of other vectors than before; `notes` on what it was
    learnt from; and the `problem` for which nothing was filled."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    model: str
    rows: NonNegativeInt = 0
    pending: NonNegativeInt = 0
    is_anew: bool = False
    notes: tuple[str, ...] = ()
    problem: str = ""
