"""The pictures that a linear head learns from: those with a label in a column, or that a person has named."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError
from pixelmill.heads.folders import FOLDER, folders_of
from pixelmill.heads.head import Example
from pixelmill.store.manifest import LOCATION
from pixelmill.store.reader import Store

BLOCK: Final = 65_536
MOST: Final = 20_000
"""A head learns from at most so many pictures."""
_WORK: Final = 4 * 10**9
"""Rows x dim x labels beyond which learning takes minutes."""
_SHA256: Final = re.compile("[0-9a-f]{64}", re.IGNORECASE)
_KEYS: Final = ("row", "sha256", "path")


class NoExamples(PixelmillError, ValueError):
    """Nothing that a head could learn from."""


@dataclass(frozen=True)
class Examples:
    """`rows` int64 (N,) by ascending sha256, the `labels` of each (N,) as numbers of `classes`, sorted; `digests`
    uint8 (N, 32) their sha256. `notes` say what was left out."""

    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    digests: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def of_column(store: Store, name: str, has_vector: NDArray[np.bool_], dim: int) -> Examples:
    """Those of the rows that have a label in a column, or all by their folders. Raises UnknownColumn, and NoExamples
    for a column of measured numbers or times."""
    if name == FOLDER and FOLDER not in store.columns:
        return _of_folders(store, has_vector, dim)
    column = store.columns.about(name)[1]
    if column.kind == "float64" or column.is_time:
        held = "times" if column.is_time else "measured numbers"
        raise NoExamples(f"Expected labels in the column {name!r}: texts, or whole numbers. It holds {held}.")

    def values(start: int, stop: int) -> NDArray[Any]:
        return np.asarray(store.columns.read(name, start, stop))

    number, rows, labels = _labelled(values, column.missing, has_vector)
    return _chosen(store, [str(column.plain(value)) for value in number], rows, labels, dim)


def _of_folders(store: Store, has_vector: NDArray[np.bool_], dim: int) -> Examples:
    def values(start: int, stop: int) -> NDArray[Any]:
        return np.array(folders_of(store, start, stop), object)

    number, rows, labels = _labelled(values, "", has_vector)
    return _chosen(store, list(map(str, number)), rows, labels, dim)


def _labelled(
    values: Callable[[int, int], NDArray[Any]], missing: object, has_vector: NDArray[np.bool_]
) -> tuple[dict[object, int], NDArray[np.int64], NDArray[np.int64]]:
    """The number of each value; the rows that have one and a vector; and of each of these the number of its value."""
    number: dict[object, int] = {}
    rows, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(has_vector), BLOCK):
        found = values(start, min(start + BLOCK, len(has_vector)))
        known = np.flatnonzero(has_vector[start : start + BLOCK] & (found != missing))
        rows.append(known + start)
        labels.append(np.array([number.setdefault(one, len(number)) for one in found[known].tolist()], np.int64))
    return number, np.concatenate(rows), np.concatenate(labels)


def of_pictures(
    store: Store, pairs: Iterable[tuple[str, Example]], has_vector: NDArray[np.bool_], dim: int
) -> Examples:
    """Those that a person has named, by row, sha256 or path. Raises NoExamples where one has two labels."""
    pairs = list(pairs)
    row_of = _rows_of(store, {one for _, one in pairs})
    labels: dict[int, str] = {}
    for label, one in pairs:
        row = row_of.get(one)
        if row is not None and has_vector[row] and labels.setdefault(row, label) != label:
            raise NoExamples(
                f"Expected one label for each picture. {one!r} is an example of {labels[row]} and {label}."
            )
    lost = [one for _, one in pairs if (row := row_of.get(one)) is None or not has_vector[row]]
    told = f"{len(lost):,} of {len(pairs):,} examples are not in the store, or have no vector"
    notes = [f"{told}; the first: {lost[0]!r}."] if lost else []
    rows, classes = np.array(sorted(labels), np.int64), list(dict.fromkeys(labels.values()))
    numbers = np.array([classes.index(labels[row]) for row in rows.tolist()], np.int64)
    return _chosen(store, classes, rows, numbers, dim, notes)


def read_pairs(file: Path) -> list[tuple[str, Example]]:
    """The labels and pictures of a CSV file: its columns are `label`, and `row`, `sha256` or `path`. Raises NoExamples,
    OSError."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            lines = list(csv.DictReader(opened, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise NoExamples(f"Expected a CSV file in UTF-8 at {file}. {error}.") from error
    names = [name for name in lines[0] if name] if lines else []
    key = next((key for key in _KEYS if key in names), None)
    if key is None or "label" not in names:
        got = ", ".join(names) or "no lines"
        raise NoExamples(f"Expected the columns label, and row, sha256 or path in {file}. Got {got}.")
    return [(line["label"], _example(file, key, line[key])) for line in lines if line["label"] and line[key]]


def _example(file: Path, key: str, text: str) -> Example:
    if key == "row" and not text.isdecimal():
        raise NoExamples(f"Expected the number of a row in {file}. Got {text!r}.")
    return int(text) if key == "row" else text


def _rows_of(store: Store, wanted: set[Example]) -> dict[Example, int]:
    """The row of each picture that is there."""
    found: dict[Example, int] = {one: one for one in wanted if isinstance(one, int) and 0 <= one < len(store)}
    texts = {one for one in wanted if isinstance(one, str)}
    digests = {bytes.fromhex(one): one for one in texts if _SHA256.fullmatch(one)}
    paths = {one.encode(errors="surrogateescape"): one for one in texts - set(digests.values())}
    for start in range(0, len(store), BLOCK) if texts else ():
        stop = min(start + BLOCK, len(store))
        if digests:
            stored = np.ascontiguousarray(store.sha256(start, stop)).view("V32").reshape(-1)
            at = np.flatnonzero(np.isin(stored, np.frombuffer(b"".join(digests), "V32")))
            found |= {digests[stored[row].tobytes()]: start + row for row in at.tolist()}
        if paths:
            found |= dict(_named(store, start, stop, paths))
    return found


def _named(store: Store, start: int, stop: int, paths: dict[bytes, str]) -> Iterator[tuple[Example, int]]:
    for row, (path, source) in enumerate(
        zip(*(store.texts(name, start, stop) for name in LOCATION), strict=True), start
    ):
        for name in (path, source.rstrip(b"/") + b"/" + path):
            if path and name in paths:
                yield paths[name], row


def _chosen(
    store: Store, names: Sequence[str], rows: NDArray[np.int64], labels: NDArray[np.int64], dim: int,
    notes: Sequence[str] = (),
) -> Examples:  # fmt: skip
    """As many of the ascending `rows`, whose labels are numbers of `names`, as a head learns from: two of each label,
    then those with the least sha256, which stay the same when others come."""
    if len(names) < 2:
        told = f"All {len(rows):,} have the label {names[0]!r}" if names else "There is none with a vector"
        raise NoExamples(f"Expected pictures with two labels or more, to learn from. {told}.")
    most = min(MOST, _WORK // (dim * len(names)))
    if most < 2 * len(names):
        raise NoExamples(f"Expected fewer labels, to learn from them in minutes. There are {len(names):,}.")
    digests = np.concatenate([
        store.sha256(start, min(start + BLOCK, len(store)))[some - start]
        for start in range(0, len(store), BLOCK)
        if len(some := rows[(rows >= start) & (rows < start + BLOCK)])
    ])  # fmt: skip
    texts = np.ascontiguousarray(digests).view("S32").reshape(-1)
    order = np.argsort(texts, kind="stable")
    is_first = _place_among_equals(labels[order]) < 2
    chosen = np.concatenate([order[is_first], order[~is_first]])[:most]
    chosen = chosen[np.argsort(texts[chosen], kind="stable")]
    if len(chosen) < len(rows):
        notes = (*notes, f"Learnt from {len(chosen):,} of {len(rows):,} pictures with a label.")
    classes = tuple(sorted(names))
    number = np.array([classes.index(name) for name in names], np.int64)
    return Examples(classes, rows[chosen], number[labels[chosen]], digests[chosen], tuple(notes))


def _place_among_equals(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,): how many before each have its label."""
    order = np.argsort(labels, kind="stable")
    grouped = labels[order]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]])
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - np.repeat(starts, np.diff(np.r_[starts, len(labels)]))
    return place
