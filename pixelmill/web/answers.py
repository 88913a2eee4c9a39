"""What the endpoints answer: the shapes that /openapi.json documents."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Place(BaseModel):
    """A file that holds an image."""

    path: str = Field(description="Relative to `source`.")
    source: str


class Label(BaseModel):
    """What somebody called an image in the gallery."""

    name: str
    value: str
    pending: bool = Field(description="Whether the next run makes its column say so.")


class Picture(BaseModel):
    """One image of the store. Names are escaped where they are no UTF-8 or hold control characters."""

    row: int
    name: str = Field(description="The file's name.")
    path: str = Field(description="Relative to `source`; of several files, of one that passes the filters.")
    source: str
    places: list[Place] = Field(description="Every file that holds it, to the last byte; the one named above first.")
    width: int = Field(description="Pixels; 0 where it could not be decoded.")
    height: int
    thumbnail: str = Field(description="Where its thumbnail is; `&size=160`, `320`, `640` or `1600` gives others.")
    file: str = Field(description="Where the file itself is.")
    caption: str | None = Field(description="The beginning of what the column `caption` says, in one line.")
    labels: list[Label] = Field(description="By name.")


class Hit(Picture):
    """An image that a search found."""

    score: float = Field(description="The cosine to the query: 1 is the same direction.")
    copies: list[int] = Field(description="Rows that look the same, and are left out for that.")


class Page(BaseModel):
    """Images, those that came last first."""

    images: int = Field(description="How many there are in all.")
    pictures: list[Picture]
    next: int | None = Field(description="`before` of the next page; null on the last one.")


class Found(BaseModel):
    """The images nearest to a query."""

    model: str
    hits: list[Hit]
    more: bool = Field(description="Whether a higher `offset` finds more.")
    notes: list[str] = Field(description="What the searcher should know, such as words that were cut off.")
    best: float | None = Field(description="The score of the nearest image, also of one that `min_score` leaves out.")
    reach: int | None = Field(description="With `min_score`: how many images have it, 5,000 at most; copies too.")


class Uploaded(BaseModel):
    """A picture to search with. It is kept in memory for a while, and is no part of the store."""

    image: str = Field(description="Its name for `/api/search?image=…`.")
    width: int
    height: int
    thumbnail: str


class RowModel(BaseModel):
    """Whether an image has a vector of one model."""

    name: str
    embedded: bool
    reason: str | None = Field(None, description="Why it is in quarantine.")


class Known(BaseModel):
    """What one column of the store says of an image."""

    name: str
    kind: Literal["number", "text", "time"]
    unit: str = Field(description="Of a time, how it counts and by which clock.")
    value: int | float | str | None = Field(
        description="Null where nothing is known. Whole numbers beyond 2^53, which browsers round, are text."
    )


class Details(Picture):
    """All that is known of one image."""

    sha256: str
    state: str = Field(description="`there`, `changed` (the file holds something else now), or `gone`.")
    bytes: int | None
    modified: str | None = Field(description="The mtime of the file, or of its archive, ISO 8601; null if unknown.")
    models: list[RowModel]
    columns: list[Known] = Field(description="Each column of the store.")


class FacetValue(BaseModel):
    """A value of a column, and how many images have it."""

    value: int | str | None = Field(description="A year is `2024`, a month `2024-05`; null: nothing is known.")
    images: int
    where: str = Field(description="The condition that these images fulfil.")
    chosen: bool = Field(description="Whether it is one of the conditions asked for.")


class Facet(BaseModel):
    """A column to choose from: by value, or from the least to the greatest number."""

    name: str
    kind: Literal["number", "text", "time"]
    unit: str
    sql: str = Field(description="The column's name in a condition.")
    values: list[FacetValue] = Field([], description="The commonest first; years the last one first.")
    more: int = Field(0, description="Further values.")
    least: int | float | None = Field(None, description="Of all images, not only of those that pass the filters.")
    greatest: int | float | None = None


class Facets(BaseModel):
    """The facets of a collection."""

    images: int = Field(description="How many pass the filters.")
    facets: list[Facet]
    others: list[str] = Field(description="Columns that only a condition can ask for.")


class Model(BaseModel):
    """A model of the store, and how much of the collection it covers."""

    name: str
    dim: int
    text: bool = Field(description="Whether words can be searched with it.")
    default: bool
    embedded: int = Field(description="Images with a vector, of those that are there.")
    quarantined: int = Field(description="Images that this model cannot have.")
    pending: int = Field(description="Images that the next run embeds.")
    coverage: float = Field(description="embedded / images.")
    precision: str
    decode: str
    fingerprint: str
    generation: str = Field(description="`serving`, or `filling`: made beside the one that is served.")


class Source(BaseModel):
    """A folder that runs looked at, and what each model covers of it."""

    source: str
    images: int = Field(description="Contents. One that lies in several folders counts in each.")
    embedded: dict[str, int] = Field(description="By model.")


class StoreInfo(BaseModel):
    """The store and its coverage."""

    store: str
    images: int = Field(description="Contents that a file holds now. Copies count once.")
    rows: int = Field(description="Contents ever seen.")
    upload_bytes: int = Field(description="The largest picture that can be searched with.")
    unread: int = Field(description="Files whose content is not known: refused before it was, or waiting to be read.")
    quarantined: int = Field(description="Images in quarantine.")
    published_at: str
    revision: int
    pixelmill_version: str
    models: list[Model]
    ensembles: list[str] = Field(description="Models side by side that can be searched by one name.")
    sources: list[Source]
    warnings: list[str]


class Reason(BaseModel):
    """Images refused at one stage for one reason; numbers in it that differ are an ellipsis."""

    stage: str
    reason: str
    images: int


class Refused(BaseModel):
    """One image in quarantine. `model` null: no model can have it."""

    path: str
    name: str
    row: int | None
    model: str | None
    stage: str
    reason: str
    since: str


class Quarantine(BaseModel):
    """What was refused, and why. Taken up again when the file changes, or after `pixelmill quarantine --retry`."""

    images: int
    reasons: list[Reason]
    entries: list[Refused]
    entries_in_all: int = Field(description="Of the reason asked for, or of all.")
    more: bool


class ReportSection(BaseModel):
    """A table of a report."""

    title: str
    columns: list[str]
    words: list[str] = Field(description="The columns that hold no numbers.")
    rows: list[list[str]]
    note: str


class NightReport(BaseModel):
    """A run: in words, in tables, and as `pixelmill report --json` has it."""

    started: str
    seconds: float
    headline: str
    summary: str
    notable: list[str]
    warnings: list[str]
    sections: list[ReportSection]
    report: dict[str, Any]


class Reports(BaseModel):
    """The last runs, newest first."""

    reports: list[NightReport]
