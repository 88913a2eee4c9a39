"""Days and moments as people write them, and what they mean for the times of files."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from pixelmill.errors import QueryError

EARLIEST_NS: Final = -(2**63)
LATEST_NS: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = date(1678, 1, 1), date(2262, 1, 1)
"""Years that fit into nanoseconds of 64 bits. What is before or after them is before or after every file."""


def moment(words: str) -> date | datetime:
    """The day or the moment that ISO 8601 `words` name: 2024-06-01, 2024-06-01T18:30, 2024-06-01T18:30:00+02:00.

    Raises QueryError for anything else.
    """
    try:
        return date.fromisoformat(words) if len(words) <= len("2024-06-01") else datetime.fromisoformat(words)
    except ValueError as error:
        raise QueryError(
            f"Expected a day such as 2024-06-01 or a moment such as 2024-06-01T18:30. Got {words!r}."
        ) from error


def beginning_ns(since: date | datetime | None) -> int:
    """The first nanosecond (Unix) that is not before a day or a moment; the earliest one for None."""
    if since is None or _day(since) < _FIRST:
        return EARLIEST_NS
    return LATEST_NS if _day(since) > _LAST else _nanoseconds(since)


def end_ns(until: date | datetime | None) -> int:
    """The first nanosecond (Unix) after a day, or of a moment: what is before it counts. The latest one for None."""
    if until is not None and not isinstance(until, datetime):
        return LATEST_NS if until > _LAST else beginning_ns(until + timedelta(days=1))
    return LATEST_NS if until is None else beginning_ns(until)


def within_files_times(moment: date | datetime) -> bool:
    """Whether a day or a moment is one that files can have, and that any zone has a local time for."""
    return _FIRST <= _day(moment) <= _LAST


def _day(moment: date | datetime) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _nanoseconds(moment: date | datetime) -> int:
    """In whole microseconds: a float of seconds is exact to a quarter of one only."""
    exact = moment if isinstance(moment, datetime) else datetime.combine(moment, time.min)
    return (exact.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
