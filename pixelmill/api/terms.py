"""What a search is asked for from Python: texts, pictures and rows, each alone, in a list, or with a weight."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pixelmill.api.pictures import Picture, bytes_of
from pixelmill.errors import QueryError
from pixelmill.search import query
from pixelmill.search.query import Term
from pixelmill.search.terms import text_term

AText: TypeAlias = "str | tuple[str, float]"
Texts: TypeAlias = "AText | Sequence[AText]"
APicture: TypeAlias = "Picture | tuple[Picture, float]"
Pictures: TypeAlias = "APicture | Sequence[APicture]"
ARow: TypeAlias = "int | np.integer[Any] | tuple[int, float]"
Rows: TypeAlias = "ARow | Sequence[ARow] | NDArray[np.integer[Any]]"
"""A pair is what is asked for and its weight; a negative one subtracts it."""

_HEAVY: Final = 1e100
"""No weight is as much: squares of such numbers are beyond floats."""


def terms_of(text: Texts | None, image: Pictures | None, row: Rows | None) -> list[Term]:
    """The terms of a search. Raises QueryError for what is none, SourceError and ImageRejected for a picture that
    cannot be read, TypeError for what is no picture."""
    texts = [_text(*one) for one in _weighted(text)]
    pictures = [_picture(number, *one) for number, one in enumerate(_weighted(image))]
    return [*texts, *pictures, *(_row(*one) for one in _weighted(row))]


def _text(words: Any, weight: float | None) -> Term:
    """Words as they are written on the command line too; in a pair they are taken as they are."""
    if not isinstance(words, str) or not words.strip():
        raise QueryError(f"Expected words to search for. Got {words!r}.")
    return text_term(words) if weight is None else query.Text(words, weight)


def _picture(number: int, picture: Any, weight: float | None) -> Term:
    data, name = bytes_of(picture, number)
    return query.Picture(data, 1.0 if weight is None else weight, name)


def _row(row: Any, weight: float | None) -> Term:
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        raise QueryError(f"Expected a row's number. Got {row!r}.")
    return query.Row(int(row), 1.0 if weight is None else weight)


def _weighted(asked: Any) -> Iterator[tuple[Any, float | None]]:
    """Each thing that is asked for, with its weight if it has one."""
    if asked is None:
        return
    for one in asked if _is_several(asked) else [asked]:
        if not isinstance(one, tuple):
            yield one, None
        elif len(one) == 2 and isinstance(one[1], Real) and 0 < abs(weight := float(one[1])) < _HEAVY:
            yield one[0], weight
        else:
            raise QueryError(
                f"Expected (what, weight) with a weight other than 0; several things are a list. Got {one!r}."
            )


def _is_several(asked: Any) -> bool:
    if isinstance(asked, np.ndarray):
        return asked.ndim in (1, 4)
    return isinstance(asked, Iterable) and not isinstance(asked, str | bytes | bytearray | tuple | io.IOBase)
