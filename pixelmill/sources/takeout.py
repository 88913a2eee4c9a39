"""What Google Takeout's JSON beside a picture says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

_1970: Final = datetime(1970, 1, 1)
_PLACES: Final = ("geoData", "geoDataExif")


def is_takeout(found: Mapping[str, Any]) -> bool:
    """Whether a JSON is one of Takeout's."""
    return isinstance(found.get("photoTakenTime"), dict) or (isinstance(found.get("geoData"), dict) and "url" in found)


def takeout_values(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of such a JSON by name. Times are UTC; a place of 0, 0 is none."""
    yield "caption", found.get("description")
    yield "title", found.get("title")
    people = found.get("people")
    named = people if isinstance(people, list) else []
    yield "people", [one["name"] for one in named if isinstance(one, dict) and one.get("name")]
    yield "favorited", 1 if found.get("favorited") is True else 0
    yield "takeout_taken_at", _moment(found.get("photoTakenTime"))
    for place in (found[name] for name in _PLACES if isinstance(found.get(name), dict)):
        latitude, longitude = (_number(place, name) for name in ("latitude", "longitude"))
        if latitude is not None and longitude is not None and (latitude or longitude):
            yield "takeout_latitude", latitude
            yield "takeout_longitude", longitude
            yield "takeout_altitude", _number(place, "altitude") or None
            break
    yield "url", found.get("url")


def _number(place: Mapping[str, Any], name: str) -> float | None:
    value = place.get(name)
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e6 else None


def _moment(time: object) -> str | None:
    seconds = time.get("timestamp") if isinstance(time, dict) else None
    text = str(seconds) if isinstance(seconds, (str, int)) else ""
    if not text.removeprefix("-").isdecimal():
        return None
    with suppress(OverflowError, ValueError):
        return (_1970 + timedelta(seconds=int(text))).isoformat(timespec="milliseconds")
    return None
