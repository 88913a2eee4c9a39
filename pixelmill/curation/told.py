"""Groups of look-alikes as lists: what to keep, and why."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pixelmill.curation.duplicates import Duplicates
from pixelmill.curation.keep import told

HEAD = ("group", "keep", "row", "similarity", "path", "why")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a group: whether it is the one to keep, its cosine to that, where its file is, and why."""

    group: int
    keep: bool
    row: int
    similarity: float
    path: str
    why: str


def groups(found: Duplicates) -> Iterator[list[Line]]:
    """The groups, the largest first, in each the row to keep and then the others, the most alike first."""
    rows = found.duplicates
    by_kept: list[tuple[int, list[tuple[int, float]]]] = [
        (kept, [(row, cosine) for _, row, cosine in some])
        for kept, some in groupby(
            zip(found.owners[rows].tolist(), rows.tolist(), found.similarities(rows).tolist(), strict=True),
            key=lambda one: one[0],
        )
    ]
    by_kept.sort(key=lambda group: (-len(group[1]), group[0]))
    for number, (kept, others) in enumerate(by_kept, 1):
        yield [
            _line(found, number, kept, 1.0, f"the {found.made.keep}"),
            *(_line(found, number, row, cosine, f"like row {kept}") for row, cosine in others),
        ]


def as_csv(found: Duplicates) -> bytes:
    """All lines as CSV, names as the file system spells them."""
    file = io.StringIO(newline="")
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(HEAD)
    for group in groups(found):
        lines.writerows(
            (one.group, "yes" if one.keep else "no", one.row, f"{one.similarity:.4f}", one.path, one.why)
            for one in group
        )
    return file.getvalue().encode("utf-8", "surrogateescape")


def counts(found: Duplicates) -> tuple[int, int]:
    """How many groups there are, and in how many rows another is kept for."""
    owners = found.owners[found.owners >= 0]
    return len(np.unique(owners)), len(owners)


def _line(found: Duplicates, group: int, row: int, similarity: float, why: str) -> Line:
    source, path = found.store.place(row)
    place = os.path.join(source, path)  # noqa: PTH118 - addresses as well
    return Line(group, why.startswith("the "), row, round(similarity, 4), place, f"{why}: {_by(found, row)}")


def _by(found: Duplicates, row: int) -> str:
    return told(found.judged[row].tolist(), found.made.keep)
