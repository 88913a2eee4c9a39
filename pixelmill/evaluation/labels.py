"""Labels of pictures: a column of the store, or the folder that each lies in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError, UnknownColumn, nearest
from pixelmill.heads.folders import FOLDER, folders_of
from pixelmill.store.columns import Column
from pixelmill.store.reader import Store


@dataclass(frozen=True)
class Labels:
    """`classes` in words, sorted; `of_rows` int64 (N,): which of them a row is of, -1 where nothing is known.
    `are_words`: whether a text tower could make something of them."""

    name: str
    classes: tuple[str, ...]
    of_rows: NDArray[np.int64]
    are_words: bool


def labels_of(store: Store, name: str) -> Labels:
    """The labels of each row. Raises UnknownColumn, and QueryError for a column that holds none."""
    if name == FOLDER and FOLDER not in store.columns:
        return _labels(name, folders_of(store, 0, len(store)), are_words=True)
    if name not in store.columns:
        raise UnknownColumn(
            f"Expected a column of the store, or {FOLDER!r}, for --labels. Got {name!r}."
            f"{nearest(name, [*store.columns, FOLDER])} The store has: {', '.join(store.columns) or 'none'}."
        )
    column = store.columns.about(name)[1]
    _require_classes(column)
    values = [column.plain(value) for value in store.columns.read(name)]
    return _labels(name, ["" if v is None else str(v) for v in values], are_words=column.kind == "text")


def _require_classes(column: Column) -> None:
    if column.kind == "float64" or column.is_time:
        held = "times" if column.is_time else "measured numbers"
        raise QueryError(
            f"Expected labels: texts, or whole numbers. The column {column.name!r} holds {held}. Name another, or "
            "join a table of labels (docs/columns.md)."
        )


def _labels(name: str, texts: list[str], *, are_words: bool) -> Labels:
    classes = tuple(sorted(set(texts) - {""}))
    number = {text: i for i, text in enumerate(classes)} | {"": -1}
    return Labels(name, classes, np.array([number[text] for text in texts], np.int64), are_words)
