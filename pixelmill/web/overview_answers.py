"""What the endpoints of the whole collection answer: look-alikes, clusters, the map."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from pixelmill.web.answers import Picture


class Twin(Picture):
    """A member of a group: how alike it is to the first."""

    similarity: float
    bytes: int | None = Field(description="Null if not known.")


class DuplicateGroup(BaseModel):
    """Images of which every two are as alike as was asked for; the one to keep first."""

    images: int
    keep: int = Field(description="The row with the most pixels, of these the most bytes, of these the oldest file.")
    pictures: list[Twin] = Field(description="At most 24 of them.")


class Duplicates(BaseModel):
    """Groups of near-duplicates, the largest first."""

    model: str
    threshold: float
    groups_in_all: int
    images_in_all: int = Field(description="In all groups together.")
    groups: list[DuplicateGroup]
    more: bool
    compared: int
    of: int = Field(description="More than `compared`: only the images that came last were compared.")


class Member(Picture):
    """A picture of a cluster."""

    similarity: float | None = Field(description="The cosine to the one in its middle; null where its vector is gone.")


class Cluster(BaseModel):
    """Images that are most like the one in their middle."""

    name: str = Field(description="The path of the one in its middle: its value in the column `cluster`.")
    row: int = Field(description="The one in its middle.")
    images: int
    where: str = Field(description="The condition that these images fulfil.")
    pictures: list[Member] = Field(description="The one in its middle, if it is still there, and those most like it.")


class Clusters(BaseModel):
    """The clusters of a collection, the largest first."""

    model: str | None = Field(description="By which they were made; null where `pixelmill clusters` has made none.")
    clusters_in_all: int
    images_in_all: int = Field(description="In all clusters together.")
    without: int = Field(description="Images in none: those that came since.")
    clusters: list[Cluster]
    more: bool


class MapChoice(BaseModel):
    """What a map can be coloured by."""

    name: str = Field(description="`folder`, `cluster`, or a column.")
    is_scale: bool = Field(description="Whether it is told as numbers, and not value by value.")


class MapValue(BaseModel):
    """A value by which a map is coloured."""

    value: int | str | None = Field(description="Null: nothing is known.")
    images: int
    where: str = Field(description="The condition that these images fulfil; empty where none can be written.")


class MapScale(BaseModel):
    """Numbers, or times, by which a map is coloured."""

    kind: Literal["number", "time"]
    unit: str
    values: list[float | None] = Field(description="Of each image; null: nothing is known.")
    low: float = Field(description="Where its colours begin: 2 of 100 images have less.")
    high: float = Field(description="Where they end: 2 of 100 have more.")
    least: float
    greatest: float


class MapPoints(BaseModel):
    """Where images lie on a map. `x` and `y` are from 0 to 1, one scale for both."""

    model: str
    rows: list[int]
    x: list[float]
    y: list[float]
    of: int = Field(description="More than there are rows: only the images that came last are shown.")
    explained: float = Field(description="The share of the variance that these two axes show.")
    choices: list[MapChoice] = Field(description="What it can be coloured by.")
    by: str
    codes: list[int] = Field(description="Of each image, an index into `values`; -1: not known, -2: one of `others`.")
    values: list[MapValue] = Field(description="The commonest first, numbers in their order.")
    others: int = Field(description="Images with a value beyond the 200 that are told.")
    unknown: MapValue
    scale: MapScale | None = Field(description="In place of `values`, where `by` is a scale.")
