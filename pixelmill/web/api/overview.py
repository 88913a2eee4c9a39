"""The collection at a glance: a map of it, and what is in it nearly twice."""

from __future__ import annotations

import os
from collections import Counter
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query

from pixelmill.formatting import printable
from pixelmill.store.reader import Store
from pixelmill.web.answers import DuplicateGroup, Duplicates, MapPoints, Twin
from pixelmill.web.gallery import InGallery, ModelName, pictures
from pixelmill.web.keep import Member, best_first
from pixelmill.web.problems import documented

router = APIRouter(prefix="/api", tags=["overview"], responses=documented(404, 422, 503))

_SHOWN = 24
"""Members of a group that are told one by one."""
_FOLDERS = 8
"""Folders that a map tells apart; there are no more colours that people do."""


@router.get("/map")
def map_points(gallery: InGallery, model: ModelName = None) -> MapPoints:
    """Two coordinates an image: what the model finds alike lies together."""
    snapshot = gallery.newest()
    name = gallery.model_named(model)
    found = snapshot.map(name)
    span = np.ptp(found.points, axis=0) if len(found.rows) else np.ones(2)
    scaled = (found.points - (found.points.min(axis=0) if len(found.rows) else 0)) / max(span.max(), 1e-9)
    folders, names = _folders(snapshot.store, found.rows)
    return MapPoints(
        model=name,
        rows=found.rows.tolist(),
        x=np.round(scaled[:, 0], 4).tolist(),
        y=np.round(scaled[:, 1], 4).tolist(),
        folders=folders,
        folder_names=names,
        of=found.of,
        explained=round(found.explained, 4),
    )


@router.get("/duplicates")
def duplicates(
    gallery: InGallery,
    model: ModelName = None,
    threshold: Annotated[float, Query(ge=0.8, le=1.0, description="The least cosine.")] = 0.97,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Duplicates:
    """Groups of images of which every two look almost the same to the model. Exact copies are one image already."""
    snapshot = gallery.newest()
    name = gallery.model_named(model)
    found = snapshot.duplicates(name, round(threshold, 4))
    return Duplicates(
        model=name,
        threshold=round(threshold, 4),
        groups_in_all=len(found.groups),
        images_in_all=sum(map(len, found.groups)),
        groups=_told(snapshot.store, best_first(snapshot.store[name], found.groups[offset : offset + limit])),
        more=offset + limit < len(found.groups),
        compared=found.compared,
        of=found.of,
    )


def _told(store: Store, groups: list[list[Member]]) -> list[DuplicateGroup]:
    known = pictures(store, [member.row for group in groups for member in group[:_SHOWN]])
    return [
        DuplicateGroup(
            images=len(group),
            keep=group[0].row,
            pictures=[
                Twin(**known[one.row].model_dump(), similarity=one.similarity, bytes=one.size or None)
                for one in group[:_SHOWN]
            ],
        )
        for group in groups
    ]


def _folders(store: Store, rows: np.ndarray) -> tuple[list[int], list[str]]:
    """Of each row, which folder it is in; their names, the largest first, and the others as the last."""
    first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
    paths = list(map(os.fsdecode, store.texts("images/path", first, last + 1)[rows - first]))
    parents = [tuple(path.split("/")[:-1]) for path in paths]
    depth = _telling_depth(parents)
    held = ["/".join(parent[:depth]) for parent in parents]
    names = [name for name, _ in Counter(held).most_common(_FOLDERS)]
    numbers = {name: i for i, name in enumerate(names)}
    told = [printable(name) or "." for name in names]
    return [numbers.get(name, len(names)) for name in held], [*told, "others"] if len(set(held)) > len(names) else told


def _telling_depth(parents: list[tuple[str, ...]]) -> int:
    """The first level of folders at which there is more than one."""
    deepest = max(map(len, parents), default=0)
    return next((depth for depth in range(1, deepest) if len({one[:depth] for one in parents}) > 1), max(deepest, 1))
