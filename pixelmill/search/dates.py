"""Which rows are of a time: by the clock of their camera, or else by the last change of their files."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.formatting import number_of
from pixelmill.search.moments import within_files_times
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.reader import Store

_TAKEN, _OFFSET = "taken_at", "taken_offset"
_MINUTE: Final = 60_000_000
_DAY: Final = 24 * 60
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1)


def is_known(store: Store) -> NDArray[np.bool_]:
    """(N,) bool: of which rows it is known when they were taken."""
    known: NDArray[np.bool_] = _taken(store) != MISSING_INT
    return known


def taken_within(store: Store, since: date | datetime | None, until: date | datetime | None) -> NDArray[np.bool_]:
    """(N,) bool: the rows that were taken on the day `since`, at that moment, or later, and by the end of the day
    `until`, or before that moment.

    Days, and moments without a zone, are those that the camera's clock showed: a day is the day where the picture was
    taken. A moment with a zone is one for all the world; a camera that did not say its zone is taken to be in ours.
    """
    taken = _taken(store)
    passing: NDArray[np.bool_] = taken != MISSING_INT
    if since is not None:
        passing &= taken >= _limit(store, since)
    if until is not None and isinstance(until, datetime):
        passing &= taken < _limit(store, until)
    elif until is not None and until < date.max:
        passing &= taken < _limit(store, until + timedelta(days=1))
    return passing


def dates_told(store: Store) -> str:
    """What a person who filters by date should know: what its dates are."""
    known = is_known(store)
    lacking = int((store.present & ~known).sum())
    if not known.any():
        return "Dates are when files last changed: no picture here says when it was taken."
    others = f"; of {number_of(lacking, 'picture')} without, when the file last changed" if lacking else ""
    return f"Dates are when pictures were taken, by the clock of the camera{others}."


def _taken(store: Store) -> NDArray[np.int64]:
    """(N,) milliseconds as the camera's clock had them."""
    if _TAKEN in store.columns and store.columns.about(_TAKEN)[1].is_time:
        return store.columns.read(_TAKEN)
    return np.full(len(store), MISSING_INT)


def _limit(store: Store, moment: date | datetime) -> NDArray[np.int64] | int:
    """The first millisecond by the camera's clock that is not before a day or a moment; of each row, if that depends on
    where it was taken."""
    exact = moment if isinstance(moment, datetime) else datetime.combine(moment, time.min)
    shown = (exact.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    if exact.utcoffset() is None:
        return -(-shown // 1000)
    instant = shown - (exact.utcoffset() or timedelta()) // _MICROSECOND
    return -(-(instant + _ahead(store, exact) * _MINUTE) // 1000)


def _ahead(store: Store, moment: datetime) -> NDArray[np.int64] | int:
    """Minutes that clocks of cameras are ahead of UTC: of each row as it said, else as ours was at that moment."""
    ours = (moment.astimezone().utcoffset() if within_files_times(moment) else None) or timedelta()
    minutes = ours // timedelta(minutes=1)
    if _OFFSET not in store.columns or store.columns.about(_OFFSET)[1].kind != "int64":
        return minutes
    said = store.columns.read(_OFFSET)
    return np.where((said > -_DAY) & (said < _DAY), said, minutes)
