"""The collection at a glance: a map of it, and what is in it nearly twice."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from pixelmill.formatting import printable
from pixelmill.store.reader import Store
from pixelmill.web import clusters, colours
from pixelmill.web.facets import equal, named
from pixelmill.web.gallery import InGallery, ModelName, pictures
from pixelmill.web.keep import Member as Alike
from pixelmill.web.keep import best_first
from pixelmill.web.known import exact
from pixelmill.web.overview_answers import (
    Cluster,
    Clusters,
    DuplicateGroup,
    Duplicates,
    MapChoice,
    MapPoints,
    MapScale,
    MapValue,
    Member,
    Twin,
)
from pixelmill.web.problems import documented

router = APIRouter(prefix="/api", tags=["overview"], responses=documented(404, 422, 503))

_SHOWN = 24
"""Members of a group that are told one by one."""
_IN_THE_MIDDLE = 8
"""Pictures of a cluster that are told."""


@router.get("/map")
def map_points(
    gallery: InGallery,
    model: ModelName = None,
    by: Annotated[str, Query(max_length=200, description="What its colours say: one of `choices`.")] = colours.FOLDER,
) -> MapPoints:
    """Two coordinates an image: what the model finds alike lies together; and a value of each, to be coloured by."""
    snapshot = gallery.newest()
    name = gallery.model_named(model)
    found = snapshot.map(name)
    span = np.ptp(found.points, axis=0) if len(found.rows) else np.ones(2)
    scaled = (found.points - (found.points.min(axis=0) if len(found.rows) else 0)) / max(span.max(), 1e-9)
    choices = colours.choices(snapshot)
    return MapPoints(
        model=name,
        rows=found.rows.tolist(),
        x=np.round(scaled[:, 0], 4).tolist(),
        y=np.round(scaled[:, 1], 4).tolist(),
        of=found.of,
        explained=round(found.explained, 4),
        choices=[MapChoice(name=choice, is_scale=is_scale) for choice, is_scale in choices.items()],
        by=by,
        **_colours(colours.coloured(snapshot, by, found.rows)),
    )


def _colours(found: colours.Values | colours.Scale) -> dict[str, Any]:
    if isinstance(found, colours.Values):
        unknown = MapValue(value=None, images=int((found.codes == colours.NONE).sum()), where=found.unknown)
        values = [MapValue(value=_plain(value), images=images, where=where) for value, images, where in found.told]
        others = int((found.codes == colours.OTHERS).sum())
        return {
            "codes": found.codes.tolist(), "values": values, "others": others, "unknown": unknown, "scale": None,
        }  # fmt: skip
    known = found.values[~np.isnan(found.values)]
    unknown = MapValue(value=None, images=len(found.values) - len(known), where=f"{named(found.column)} IS NULL")
    scale = MapScale(
        kind="time" if found.column.is_time else "number", unit=found.column.unit,
        values=list(colours.spread(found)), low=found.low, high=found.high,
        least=known.min(initial=found.low), greatest=known.max(initial=found.high),
    )  # fmt: skip
    return {"codes": [], "values": [], "others": 0, "unknown": unknown, "scale": scale}


def _plain(value: str | int) -> str | int:
    return printable(value) if isinstance(value, str) else exact(value)


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


@router.get("/clusters")
def pages(
    gallery: InGallery,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Clusters:
    """What kinds of images there are: clusters as `pixelmill clusters` made them, with those in their middle."""
    snapshot = gallery.newest()
    found = snapshot.clusters()
    if found is None:
        return Clusters(model=None, clusters_in_all=0, images_in_all=0, without=0, clusters=[], more=False)
    shown = range(len(found.names))[offset : offset + limit]
    return Clusters(
        model=found.model,
        clusters_in_all=len(found.names),
        images_in_all=sum(map(len, found.rows)),
        without=found.without,
        clusters=[_cluster(snapshot.store, found, number) for number in shown],
        more=offset + limit < len(found.names),
    )


def _cluster(store: Store, found: clusters.Clusters, number: int) -> Cluster:
    name, medoid, rows = found.names[number], found.medoids[number], found.rows[number]
    members = clusters.middle(store, found.model, medoid, rows, _IN_THE_MIDDLE)
    known = pictures(store, [row for row, _ in members])
    return Cluster(
        name=printable(name), row=medoid, images=len(rows), where=equal(found.column, name),
        pictures=[Member(**known[row].model_dump(), similarity=cosine) for row, cosine in members],
    )  # fmt: skip


def _told(store: Store, groups: list[list[Alike]]) -> list[DuplicateGroup]:
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
