"""The filters of a request: by path, date, size, and conditions in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BeforeValidator, Field

from pixelmill.search.conditions import require_bounded
from pixelmill.search.filters import Filters
from pixelmill.search.moments import moment


def _read(given: object) -> object:
    return moment(given) if isinstance(given, str) else given


When = Annotated[date | datetime, BeforeValidator(_read)]
Given = Annotated[list[Annotated[str, Field(max_length=2000)]], Query(max_length=24)]
_WHERE = "A condition in SQL over what is known of pictures: `sharpness > 20`. Of several, all have to be fulfilled."


def conditions_of(where: Annotated[Given, Query(description=_WHERE)] = []) -> tuple[str, ...]:  # noqa: B006
    """Each is a condition by itself, of functions that nobody can fill the memory with. Raises QueryError."""
    given = tuple(condition for condition in where if condition.strip())
    for condition in given:
        require_bounded(condition)
    return given


InConditions = Annotated[tuple[str, ...], Depends(conditions_of)]


def filters_of(
    conditions: InConditions,
    glob: Annotated[str, Query(max_length=500, description="A pattern for the path: `animals/*`, `*.png`.")] = "",
    since: Annotated[
        When | None, Query(description="Taken on this day, at this moment, or later; or last changed.")
    ] = None,
    until: Annotated[
        When | None, Query(description="Taken by the end of this day, before this moment; or last changed.")
    ] = None,
    min_size: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Pixels of the shorter edge.")] = None,
) -> Filters:
    """As `pixelmill search` has them: days are those of the camera's clock, or of the server's for files whose pictures
    do not say when they were taken; moments too unless they name a zone."""
    return Filters(globs=(glob,) if glob else (), since=since, until=until, min_size=min_size, where=all_of(conditions))


def all_of(conditions: Sequence[str]) -> str | None:
    """Several conditions as one; None for none."""
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return " AND ".join(f"(\n{condition}\n)" for condition in conditions)


InFilters = Annotated[Filters, Depends(filters_of)]
