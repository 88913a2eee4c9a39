"""What a companion of a picture says, as values by name: a caption, a label, whatever a JSON holds."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pixelmill.sources.takeout import is_takeout, takeout_values
from pixelmill.sources.xmp import xmp_values

Value = int | float | str
MOST_BYTES: Final = 4 << 20
"""A companion that is larger is no companion: sidecars with previews in them have some hundred thousand bytes."""
MOST_TEXT: Final = 64 << 10
"""Bytes that one value may have."""
MOST_VALUES: Final = 256
"""Values that one companion may have: what says more is a table."""
MOST_SAID: Final = 256 << 10
"""Bytes of text that one companion may have kept in all: many of them are in memory at once."""
MOST_NAME: Final = 64
ORIGINS: Final = ("txt", "cls", "json", "xmp", "takeout", "parquet")
"""Where values come from. What comes first here counts where several say something by one name."""
TAKEN: Final = frozenset(
    {
        "row", "path", "source", "sha256", "width", "height",
        "format", "bytes", "frames", "decoded_as", "taken_at", "taken_offset", "camera", "lens",
        "latitude", "longitude", "altitude", "sharpness", "brightness", "contrast", "entropy",
        "duplicate_of", "outlier", "cluster",
    }
)  # fmt: skip
"""What a store itself says of a picture; what came with it by such a name gets its origin in front."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # which begins like the next
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TRANSLATION: Final = re.compile(r"[a-z]{2,3}([_@][A-Za-z]+)*\.utf8=")
"""How a line begins that says in another language what the first line says, as beside the stamps of Tux Paint."""
_MOST_INTEGER: Final = 2**63 - 1
_LEAST_INTEGER: Final = -_MOST_INTEGER
"""One above the least that 64 bits hold, which stands for a value that is missing."""


@dataclass(frozen=True, slots=True)
class Said:
    """The values of a companion by their names as columns have them, where they come from, and what of it cannot be
    kept, in words."""

    values: Mapping[str, Value] = field(default_factory=dict)
    origin: str = ""
    problem: str = ""


def said_in(kind: str, data: bytes) -> Said:
    """What the bytes of a companion of a kind say. Whatever they are, this raises nothing."""
    try:
        return _READ[kind](data)
    except (ValueError, RecursionError) as error:
        return Said(origin=kind, problem=_shortly(str(error) or type(error).__name__))


def kept(given: Iterable[tuple[str, Any]], origin: str) -> Said:
    """Values as columns can keep them: whole numbers of 64 bits, finite numbers, texts; lists and objects as JSON. What
    is empty is missing."""
    values, problems, room = dict[str, Value](), list[str](), MOST_SAID
    for given_name, given_value in given:
        name = column_name(given_name, origin)
        value = _value(given_value)
        size = len(value.encode()) if isinstance(value, str) else 0
        if isinstance(given_value, float) and math.isinf(given_value):
            problems.append(f"{given_name!r:.64} is infinite")
        elif size > MOST_TEXT:
            problems.append(f"{name or given_name!r:.64} has more than {MOST_TEXT:,} bytes")
        elif not name and value is not None:
            problems.append(f"{given_name!r:.64} is no name of a column")
        elif value is not None and origin == "json" and name in values:
            problems.append(f"{given_name!r:.64} is left out: there is another {name!r}")
        elif value is not None and (len(values) >= MOST_VALUES or size > room):
            problems.append(f"it says more than {MOST_VALUES} things or {MOST_SAID:,} bytes; the first are kept")
            break
        elif value is not None:
            room -= size
            values.setdefault(name, value)
    return Said(values, origin, _shortly("; ".join(problems)))


def column_name(name: str, origin: str) -> str:
    """A name as columns have it: lower-case letters, digits and `_`, with its origin in front where the store itself
    says something by that name; '' where nothing is left of it."""
    plain = re.sub(r"\W+", "_", name.strip().lower()).strip("_")
    plain = f"{origin}_{plain}" if plain in TAKEN or plain[:1].isdigit() else plain
    return plain.encode("utf-8", "ignore")[:MOST_NAME].decode("utf-8", "ignore")


def text_of(data: bytes, *, plain: bool = False) -> str:
    """Bytes as text: UTF-8, or what a mark in front says; if `plain`, what is neither is taken for Western European.
    Raises ValueError for what is no text."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    if b"\0" in data:
        raise ValueError("Expected text. It holds zero bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if plain:
            return data.decode("cp1252", "replace")
        raise ValueError(f"Expected text in UTF-8: {error}.") from error


def _caption(data: bytes) -> Said:
    lines = text_of(data, plain=True).strip().splitlines()
    rest = [line for line in lines[1:] if line.strip()]
    if rest and all(_TRANSLATION.match(line) for line in rest):
        lines = lines[:1]
    return kept([("caption", "\n".join(lines))], "txt")


def _label(data: bytes) -> Said:
    text = text_of(data, plain=True).strip()
    return kept([("label", int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else text)], "cls")


def _json(data: bytes) -> Said:
    text = text_of(data)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "lists in lists too deep" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"Expected JSON: {why}.") from error
    if not isinstance(found, dict):
        return kept([("json", found)], "json")
    return kept(takeout_values(found), "takeout") if is_takeout(found) else kept(found.items(), "json")


def _xmp(data: bytes) -> Said:
    return kept(xmp_values(data), "xmp")


_READ: Final[Mapping[str, Callable[[bytes], Said]]] = {"txt": _caption, "cls": _label, "json": _json, "xmp": _xmp}


def _value(value: Any) -> Value | None:
    """A value as a column keeps it; None for one that is missing."""
    match value:
        case None:
            return None
        case bool():
            return int(value)
        case int():
            return value if _LEAST_INTEGER <= value <= _MOST_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else None
        case str():
            text = value
        case _:
            text = json.dumps(value, ensure_ascii=False, default=str) if value else ""
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip() or None


def _shortly(text: str) -> str:
    """Words of which a hostile file may have made many."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:300]
