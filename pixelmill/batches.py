"""Many values, some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def batched(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of at most `size` consecutive values."""
    iterator = iter(values)
    while some := list(islice(iterator, size)):
        yield some
