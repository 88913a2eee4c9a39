"""What an XMP sidecar says of a picture: Adobe's XMP Specification, part 1, of which readers need little."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_XMP: Final = "http://ns.adobe.com/xap/1.0/"
_EXIF: Final = "http://ns.adobe.com/exif/1.0/"
_PHOTOSHOP: Final = "http://ns.adobe.com/photoshop/1.0/"
_TAKEN: Final = (f"{_EXIF} DateTimeOriginal", f"{_PHOTOSHOP} DateCreated", f"{_XMP} CreateDate")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?")
_DEGREES: Final = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")
_DEEPEST: Final = 64


def xmp_values(data: bytes) -> Iterator[tuple[str, object]]:
    """The values of a sidecar by name. `xmp_taken_at` is as the camera's clock said it, with
    `xmp_taken_offset` in minutes east of UTC where that is known. Raises ValueError for what is no XMP."""
    found = _Properties()
    found.read(data)
    yield "caption", found.first(f"{_DC} description")
    yield "title", found.first(f"{_DC} title")
    yield "keywords", found.all(f"{_DC} subject")
    yield "rating", _whole(found.first(f"{_XMP} Rating"))
    yield "label", found.first(f"{_XMP} Label")
    taken, offset = next(filter(None, (_time(found.first(name)) for name in _TAKEN)), (None, None))
    yield "xmp_taken_at", taken
    yield "xmp_taken_offset", offset
    yield "xmp_latitude", _degrees(found.first(f"{_EXIF} GPSLatitude"))
    yield "xmp_longitude", _degrees(found.first(f"{_EXIF} GPSLongitude"))
    below = -1 if found.first(f"{_EXIF} GPSAltitudeRef") == "1" else 1
    altitude = _fraction(found.first(f"{_EXIF} GPSAltitude"))
    yield "xmp_altitude", None if altitude is None else below * altitude


class _Properties:
    """The properties of the first level, with their texts in order. A document may declare nothing: no entity is ever
    expanded, so none can grow, and nothing outside is looked at."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._default: dict[str, str] = {}
        self._path: list[str] = []
        self._text: list[str] = []
        self._language = ""
        self._is_xmp = False

    def first(self, name: str) -> str:
        """The text of a property: of several languages that by default, else the first."""
        return self._default.get(name) or next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        """All texts of a property."""
        return self._texts.get(name, [])

    def read(self, data: bytes) -> None:
        parser = ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._declared  # entities are declared nowhere else
        parser.StartElementHandler, parser.EndElementHandler = self._begun, self._ended
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(data, True)
        except ExpatError as error:
            raise ValueError(f"Expected XMP, which is XML: {error}.") from error
        if not self._is_xmp:
            raise ValueError("Expected XMP. It is another kind of XML.")

    def _declared(self, *_: object) -> None:
        raise ValueError("Expected XMP, which declares no document type. This one does, and is not read.")

    def _begun(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise ValueError(f"Expected XMP. It is more than {_DEEPEST} elements deep.")
        self._text.clear()
        if name == f"{_RDF} RDF":
            self._is_xmp = True
        elif name == f"{_RDF} Description" and self._path[-2:-1] == [f"{_RDF} RDF"]:
            for key, value in attributes.items():
                self._note(key, value)
        self._language = attributes.get("http://www.w3.org/XML/1998/namespace lang", "")

    def _ended(self, name: str) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        below = self._path[self._path.index(f"{_RDF} RDF") + 2 :] if f"{_RDF} RDF" in self._path else []
        is_item = len(below) == 3 and name == f"{_RDF} li"
        if text and (is_item or len(below) == 1):
            self._note(below[0], text)
            if is_item and self._language == "x-default":
                self._default.setdefault(below[0], text)
        self._path.pop()

    def _note(self, name: str, text: str) -> None:
        self._texts.setdefault(name, []).append(text)


def _whole(text: str) -> int | None:
    with suppress(ValueError):
        number = float(text)
        return int(number) if abs(number) < 1000 else None
    return None


def _time(text: str) -> tuple[str, int | None] | None:
    """The time of a clock without its zone, and the minutes east of UTC."""
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    offset = time.utcoffset()
    clock = time.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return clock, None if offset is None else offset // timedelta(minutes=1)


def _degrees(text: str) -> float | None:
    """`52,30.5N`, or `52,30,30N`, in degrees."""
    found = _DEGREES.fullmatch(text.replace(" ", ""))
    if not found:
        return None
    degrees = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    return -degrees if found[4] in "SW" else degrees


def _fraction(text: str) -> float | None:
    found = re.fullmatch(r"(-?\d{1,15}(?:\.\d{1,15})?)(?:/(\d{1,15}))?", text)
    below = float(found[2] or 1) if found else 0.0
    return float(found[1]) / below if found and below else None
