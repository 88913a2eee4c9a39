"""The filters of a request: by path, date and size."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated

from fastapi import Depends, Query

from pixelmill.search.filters import Filters

Day = date | None
_EARLIEST, _LATEST = date(1700, 1, 1), date(2200, 1, 1)


def filters_of(
    glob: Annotated[str, Query(max_length=500, description="A pattern for the path: `animals/*`, `*.png`.")] = "",
    since: Annotated[Day, Query(description="The file's last change is on this day or later.")] = None,
    until: Annotated[Day, Query(description="The file's last change is on this day or earlier.")] = None,
    min_size: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Pixels of the shorter edge.")] = None,
) -> Filters:
    """Days are those of the server's clock."""
    return Filters(
        globs=(glob,) if glob else (),
        since=_midnight(since) if since else None,
        until=_midnight(until, 1) if until else None,
        min_size=min_size,
    )


InFilters = Annotated[Filters, Depends(filters_of)]


def _midnight(day: date, later: int = 0) -> datetime:
    bounded = min(max(day, _EARLIEST), _LATEST)
    return datetime.combine(bounded + timedelta(days=later), time.min).astimezone()
