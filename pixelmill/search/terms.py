"""How terms of a query are written, wherever somebody types one: the command line, the gallery, Python.

A term is words, a row or a picture. A minus before it looks away (`-people`), a number and a colon say how much it
counts (`2:red bike`, `-0.5:people`); a plus changes nothing. Weights go up to 9999. Words behind a blank are taken as
they are (` -x`, ` 2:red`), and so are those with a digit behind the colon, as `16:9` and `2:30 pm`.
"""

from __future__ import annotations

import re
from typing import Final

from pixelmill.errors import QueryError
from pixelmill.search.query import Row, Text

_WEIGHT: Final = r"(?:[0-9]{1,4}(?:\.[0-9]{1,4})?|\.[0-9]{1,4}):"
_MARKED: Final = re.compile(rf"([+-]?)({_WEIGHT})?(.*)", re.DOTALL)
_MARK: Final = rf"(?:[+-]?{_WEIGHT}(?![0-9])|[+-])"
_TERM: Final = re.compile(
    rf'\s*({_MARK}?)(?:"([^"]+)"(?=\s|$)|(.+?)(?=\s+{_MARK}\S|\s+"[^"]+"(?:\s|$)|\s*$))', re.DOTALL
)
"""Also in web/static/terms.js; tests/search/terms.json holds both to the same."""


def weighed(written: str, *, words: bool = False) -> tuple[float, str]:
    """The weight of a term and what it is about; `words` where that is a text. Raises QueryError for a weight of 0."""
    if written[:1].isspace():
        return 1.0, written
    found = _MARKED.fullmatch(written)
    assert found
    sign, number, rest = found[1], found[2] or "", found[3]
    if words and number and rest[:1] in set("0123456789"):
        number, rest = "", number + rest
    weight = float(number[:-1]) if number else 1.0
    if not weight:
        raise QueryError(f"Expected a weight other than 0. Got {written!r}; before words that begin so, put a blank.")
    return (-weight if sign == "-" else weight), rest


def text_term(written: str) -> Text:
    """Words with their weight. Raises QueryError for none, and for a weight of 0."""
    weight, text = weighed(written, words=True)
    if not text.strip():
        raise QueryError(f"Expected words to search for. Got {written!r}.")
    return Text(text.strip(), weight)


def row_term(written: str) -> Row:
    """A row of the store with its weight. Raises QueryError for what is no number, and for a weight of 0."""
    weight, row = weighed(written)
    if not re.fullmatch("[0-9]{1,18}", row := row.strip()):
        raise QueryError(f"Expected a row's number, such as 12, -12 or 0.5:12. Got {written!r}.")
    return Row(int(row), weight)


def written(weight: float, value: str) -> str:
    """A term as `weighed` takes it apart again, whatever the words begin with."""
    marked = _MARKED.fullmatch(value)
    plain = marked is not None and not marked[1] and not marked[2]
    if weight == 1:
        return value if plain else f" {value}"
    return f"-{value}" if weight == -1 and plain else f"{weight:.10g}: {value}"


def terms_in(line: str) -> list[str]:
    """The terms of a query that is typed in one line: `red bike -people 2:"sea at dusk"` has three.

    Each is written as `weighed` takes it. One begins where a sign or a weight stands behind a blank; what is in quotes
    is one by itself, of exactly these words: `"-x"` looks for a minus and an x. Raises QueryError for a weight of 0.
    """
    found = (_written(*term.groups(default="")) for term in _TERM.finditer(line.strip()))
    return [term for term in found if term.strip(" +-")]


def _written(mark: str, quoted: str, words: str) -> str:
    return written(weighed(f"{mark} ")[0], quoted) if quoted else mark.removeprefix("+") + words
