"""Reports of earlier runs, as the ledger kept them: those that are whole. A disk or a hand may have altered one, or an
older program have made it; a run goes on without it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, FiniteFloat, NonNegativeInt, ValidationError

from pixelmill.store.ledger import Ledger


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class _Images(BaseModel):
    seen: NonNegativeInt
    new: NonNegativeInt
    changed: NonNegativeInt
    moved: NonNegativeInt
    duplicate: NonNegativeInt
    removed: NonNegativeInt
    quarantined: NonNegativeInt


class _Model(BaseModel):
    embedded: NonNegativeInt
    pending: NonNegativeInt
    quarantined: NonNegativeInt
    device: str
    precision: str
    images_per_second: FiniteFloat
    dataset: str


class _Work(BaseModel):
    device: str
    images: NonNegativeInt
    seconds: FiniteFloat


class _Worker(BaseModel):
    images: NonNegativeInt
    seconds: FiniteFloat
    reading_seconds: FiniteFloat
    models: dict[str, _Work]


class _Failures(BaseModel):
    stage: str | None
    reason: str | None
    new: NonNegativeInt
    known: NonNegativeInt
    examples: list[str]


class _Folder(BaseModel):
    folder: str | None
    new: NonNegativeInt
    changed: NonNegativeInt
    moved: NonNegativeInt
    duplicate: NonNegativeInt
    removed: NonNegativeInt


class _Check(BaseModel):
    compared: NonNegativeInt
    least_cosine: FiniteFloat
    sound: bool
    before: list[FiniteFloat]


class _Night(BaseModel):
    started: Annotated[str, AfterValidator(_moment)]
    new: NonNegativeInt
    embedded: NonNegativeInt
    quarantined: NonNegativeInt
    pending: NonNegativeInt
    seconds: FiniteFloat
    images_per_second: FiniteFloat


class _Report(BaseModel):
    """What whoever reads a report relies on."""

    store: str
    started: Annotated[str, AfterValidator(_moment)]
    seconds: FiniteFloat
    sources: dict[str, NonNegativeInt]
    images: _Images
    models: dict[str, _Model]
    advice: str | None
    coverage: dict[str, FiniteFloat]
    folders: list[_Folder]
    failures: list[_Failures]
    warnings: list[str]
    workers: dict[str, _Worker]
    plan: str
    nights: list[_Night]
    notable: list[str]
    self_check: dict[str, _Check] = {}


def is_whole(report: dict[str, Any]) -> bool:
    """Whether a report has all that whoever reads it relies on."""
    try:
        _Report.model_validate(report, strict=True)
    except ValidationError:
        return False
    return True


def earlier_reports(ledger: Ledger, most: int) -> Sequence[dict[str, Any]]:
    """Those of the last `most` reports that are whole, newest first."""
    return [report for report in ledger.runs(most) if is_whole(report)]
