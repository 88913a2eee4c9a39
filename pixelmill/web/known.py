"""What is known of pictures beside their files, as answers tell it."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Final

from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.reader import Store
from pixelmill.web.answers import Known

_CAPTION: Final = "caption"
_CAPTION_LETTERS: Final = 200
_EXACT: Final = 2**53
"""Scripts in browsers round whole numbers beyond it."""


def known_of(store: Store, row: int) -> Iterator[Known]:
    """Each column of the store, with what it says of a row."""
    for name in store.columns:
        column = store.columns.about(name)[1]
        found = store.columns.read(name, row, row + 1)[0]
        yield Known(name=name, kind=column.word, unit=column.unit, value=told(column, found))


def told(column: Column, found: object) -> float | int | str | None:
    """A value as JSON can carry it; None where nothing is known."""
    if isinstance(found, bytes):
        return found.decode("utf-8", "backslashreplace") or None
    if column.kind == "float64":
        number = float(found)  # type: ignore[arg-type]
        return number if isfinite(number) else None
    whole = int(found)  # type: ignore[call-overload]
    if whole == MISSING_INT:
        return None
    return exact(whole)


def exact(whole: int) -> int | str:
    """A whole number as any JSON reader has it to the last digit."""
    return whole if abs(whole) <= _EXACT else str(whole)


def caption_of(store: Store, row: int) -> str | None:
    """The beginning of a row's caption in one line; None where the store has none."""
    if _CAPTION not in store.columns or store.columns.about(_CAPTION)[1].kind != "text":
        return None
    said = store.columns.read(_CAPTION, row, row + 1)[0].decode("utf-8", "backslashreplace")
    line = " ".join(said[: 4 * _CAPTION_LETTERS].split())
    return (line if len(line) <= _CAPTION_LETTERS else f"{line[:_CAPTION_LETTERS].rstrip()}…") or None
