"""Facets of the collection: what its columns say, how many pictures have each value, and how to ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray

from pixelmill.web import answers
from pixelmill.web.api.filtering import InConditions, InFilters, all_of
from pixelmill.web.facets import Choice, Facet, Months, Span, named
from pixelmill.web.gallery import InGallery
from pixelmill.web.known import exact
from pixelmill.web.problems import documented

router = APIRouter(prefix="/api", tags=["images"])

_TOLD: Final = 50
"""Values of a facet that are told, the commonest."""
_LONGEST: Final = 200
_Passing = Callable[[Sequence[str]], NDArray[np.int64]]


@router.get("/facets", responses=documented(422, 503))
def facets(gallery: InGallery, filters: InFilters, conditions: InConditions) -> answers.Facets:
    """Of each column with few values, the commonest of those images that pass the filters, without the facet's own; of
    times, years, and the months of the one that is chosen; of other numbers, from where to where they go.

    `where` of a value goes into the parameter `where` of this and other endpoints.
    """
    snapshot = gallery.newest()
    found = snapshot.facets()

    def passing(own: Iterable[str]) -> NDArray[np.int64]:
        others = [condition for condition in conditions if condition not in own]
        return snapshot.passing(replace(filters, where=all_of(others)))

    told = (_told(facet, conditions, passing) for facet in found.offered)
    return answers.Facets(
        images=len(passing(())), facets=[facet for facet in told if facet.values or facet.least is not None],
        others=list(found.others),
    )  # fmt: skip


def _told(facet: Facet, chosen: Sequence[str], passing: _Passing) -> answers.Facet:
    column = facet.column
    result = answers.Facet(name=column.name, kind=column.word, unit=column.unit, sql=named(column))
    if isinstance(facet, Span):
        return result.model_copy(update={"least": facet.least, "greatest": facet.greatest})
    conditions = facet.conditions
    years = facet.years if isinstance(facet, Months) else {}
    own = [one for one in chosen if one in {*conditions, *years.values()}] if chosen else []
    counts = facet.counts(passing(own))
    values = _by_year(facet, years, counts, own) if isinstance(facet, Months) else _commonest(facet, counts, own)
    unknown = _value(None, int(counts[-1]), conditions[-1], own)
    shown = [value for value in values if value.images or value.chosen]
    if unknown.chosen or (shown and unknown.images):
        return result.model_copy(update={"values": [*shown[:_TOLD], unknown], "more": len(shown[_TOLD:])})
    return result.model_copy(update={"values": shown[:_TOLD], "more": len(shown[_TOLD:])})


def _value(value: str | int | None, images: int, where: str, own: Sequence[str]) -> answers.FacetValue:
    told = exact(value) if isinstance(value, int) else value
    return answers.FacetValue(value=told, images=images, where=where, chosen=where in own)


def _commonest(facet: Choice, counts: NDArray[np.int64], own: Sequence[str]) -> list[answers.FacetValue]:
    """What is chosen, then by how many have it. A value too long for an address is left out."""
    conditions = facet.conditions
    order = sorted(
        (i for i, value in enumerate(facet.values) if counts[i] or conditions[i] in own),
        key=lambda i: (conditions[i] not in own, -counts[i], facet.values[i]),
    )
    short = [i for i in order if len(str(facet.values[i])) <= _LONGEST]
    return [_value(facet.values[i], int(counts[i]), conditions[i], own) for i in short]


def _by_year(
    facet: Months, years: dict[int, str], counts: NDArray[np.int64], own: Sequence[str]
) -> list[answers.FacetValue]:
    """The last year first; below one that is chosen, or is the only one, its months."""
    result = []
    conditions = facet.conditions
    for year, condition in years.items():
        months = [i for i, month in enumerate(facet.values) if 1970 + int(month) // 12 == year]
        result.append(_value(f"{year:04d}", int(counts[months].sum()), condition, own))
        if len(years) == 1 or condition in own or any(conditions[i] in own for i in months):
            result += [
                _value(f"{year:04d}-{int(facet.values[i]) % 12 + 1:02d}", int(counts[i]), conditions[i], own)
                for i in months
            ]
    return result
