"""What there is to tell of forgetting."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from pixelmill.deliver.told import Delivered


class Forgotten(BaseModel):
    """How many `rows` were forgotten, and how many of them are `still_there`: a file holds them, which the next run
    embeds as new. With them went `thumbnails`, the `indexes` of models, and answers of workers (`handed_over`), which
    the next run does again. `deliveries` tells what came of each that may have held them, `pending` names those that
    may hold them still. `dry_run`: nothing was done."""

    model_config = ConfigDict(frozen=True)

    store: str
    dry_run: bool = False
    rows: NonNegativeInt = 0
    still_there: NonNegativeInt = 0
    thumbnails: NonNegativeInt = 0
    indexes: tuple[str, ...] = ()
    handed_over: NonNegativeInt = 0
    deliveries: tuple[Delivered, ...] = ()
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
