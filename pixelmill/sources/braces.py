"""Names in braces, as the shell and WebDataset write them: `shard-{000..012}.tar`, `{train,val}/{0..9}.tar`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from pixelmill.errors import SourceError

MOST: Final = 100_000
"""Names that one text may stand for."""
_RANGE: Final = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?|([A-Za-z])\.\.([A-Za-z])")


def expanded(text: str) -> list[str]:
    """The names that a text with braces stands for, in their order; the text itself, if it holds none.

    As in Bash: alternatives with commas, ranges of numbers (as wide as the wider end if one begins with 0, with a step)
    and of letters, one in the other; braces that are neither stay. Raises SourceError for more than MOST names.
    """
    names = list(islice(_names(text), MOST + 1))
    if len(names) > MOST:
        raise SourceError(f"Expected braces that stand for at most {MOST:,} names. Got {text!r}.")
    return names


def _names(text: str) -> Iterator[str]:
    for begin, end in _groups(text):
        inner = _alternatives(text[begin + 1 : end])
        if inner is not None:
            before, rest = text[:begin], text[end + 1 :]
            for one in inner:
                yield from (before + one + behind for behind in _names(rest))
            return
    yield text


def _groups(text: str) -> Iterator[tuple[int, int]]:
    """The places of braces and of those that close them, from the left."""
    for begin in (at for at, sign in enumerate(text) if sign == "{"):
        depth = 0
        for end in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                yield begin, end
                break


def _alternatives(inner: str) -> Iterator[str] | None:
    """What one pair of braces stands for; None if it is no more than braces."""
    parts = _parts(inner)
    if len(parts) > 1:
        return (name for part in parts for name in _names(part))
    found = _RANGE.fullmatch(inner)
    if not found:
        return None
    first, last, step, letter, last_letter = found.groups()
    if letter:
        return map(chr, _steps(ord(letter), ord(last_letter), 1))
    padded = any(re.match(r"-?0\d", number) for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return (f"{number:0{width}}" for number in _steps(int(first), int(last), abs(int(step or 1)) or 1))


def _steps(first: int, last: int, step: int) -> range:
    return range(first, last + 1, step) if first <= last else range(first, last - 1, -step)


def _parts(inner: str) -> list[str]:
    """What commas part that stand in no braces of their own."""
    parts, depth = [""], 0
    for sign in inner:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
