"""The filters of a request: by path, date and size."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BeforeValidator

from pixelmill.search.filters import Filters
from pixelmill.search.moments import moment


def _read(given: object) -> object:
    return moment(given) if isinstance(given, str) else given


When = Annotated[date | datetime, BeforeValidator(_read)]


def filters_of(
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
    return Filters(globs=(glob,) if glob else (), since=since, until=until, min_size=min_size)


InFilters = Annotated[Filters, Depends(filters_of)]
