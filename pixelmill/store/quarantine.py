"""The quarantine: which images were refused, and why; how many for which reason, and how many of them lately."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pixelmill.store.contents import Contents
from pixelmill.store.database import Cell, Database, RowNumber
from pixelmill.store.holders import IN_DOUBT, Holders
from pixelmill.store.rows import Failure, FailureGroup, Quarantined

SHOWN = 10
"""Reasons that are told one by one, those with most new failures first."""
EXAMPLES = 3
_COUNTED = 1_000
"""So many reasons are counted one by one; any more count among the others."""
_NUMBER = re.compile(r"\b\d[\d,]*(\.\d+)?\b")

# One line for each image of a scan and each reason why it was refused: for every model, or for one of the matrices
# named (a JSON list of fingerprints). It goes from the few that were refused to their files, not through all of a scan.
_REFUSED_SEEN = """
    SELECT f.path, q.stage, q.reason, q.since
    FROM quarantine q CROSS JOIN files f ON f.row = q.row CROSS JOIN seen s ON s.scan = :scan AND s.path = f.path
    WHERE q.row IS NOT NULL AND NOT f.gone
        AND (q.fingerprint = '' OR q.fingerprint IN (SELECT value FROM json_each(:fingerprints)))
    UNION ALL
    SELECT f.path, q.stage, q.reason, q.since
    FROM quarantine q CROSS JOIN files f ON f.path = q.path CROSS JOIN seen s ON s.scan = :scan AND s.path = f.path
    WHERE q.row IS NULL AND f.row IS NULL AND NOT f.gone
"""

_QUARANTINED = f"""
    SELECT f.path AS path, q.row, q.model AS model, q.stage, q.reason, q.since FROM quarantine q JOIN files f
        ON (q.row IS NOT NULL AND f.row = q.row) OR (q.row IS NULL AND f.path = q.path) WHERE NOT f.gone
    UNION ALL
    SELECT f.path, q.row, q.model, q.stage, q.reason, q.since FROM (SELECT path, held.row AS row FROM {IN_DOUBT}) AS f
        JOIN quarantine q ON q.row = f.row
"""  # noqa: S608 - constants
"""Everything in quarantine that a file holds, or that one which waits to be read again may."""


class _Entry(NamedTuple):
    path: bytes
    row: int | None
    model: str
    stage: str
    reason: str
    since: float


class Refused(NamedTuple):
    path: bytes
    stage: str
    reason: str
    new: int


class _Count(NamedTuple):
    images: int


class Quarantine:
    """The images that were refused, by row where their content is known and by path where it is not."""

    def __init__(self, db: Database, contents: Contents, holders: Holders) -> None:
        self._db = db
        self._contents = contents
        self._holders = holders

    def record(self, failures: Iterable[Failure]) -> None:
        """Put images into quarantine; one that is there already keeps its date."""
        now = time.time()
        for failure in failures:
            row = None if failure.sha256 is None else self._contents.row_of(failure.sha256)
            self._db.write(
                "INSERT INTO quarantine (row, path, fingerprint, model, stage, reason, since) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    row,
                    os.fsencode(failure.path),
                    failure.fingerprint,
                    failure.model,
                    failure.stage,
                    failure.reason,
                    now,
                ),
            )

    def rows(self, fingerprint: str) -> list[int]:
        """The rows refused for every model or for the matrix named."""
        query = "SELECT DISTINCT row FROM quarantine WHERE row IS NOT NULL AND fingerprint IN ('', ?)"
        return [row for (row,) in self._db.read(RowNumber, query, (fingerprint,))]

    def seen(self, scan: int, fingerprints: Sequence[str] = ()) -> int:
        """How many images of a scan are in quarantine, for every model or for one of the matrices named."""
        values: dict[str, Cell] = {"scan": scan, "fingerprints": json.dumps(list(fingerprints))}
        found = self._db.one(_Count, f"SELECT count(DISTINCT path) FROM ({_REFUSED_SEEN})", values)  # noqa: S608
        return found.images if found else 0

    def groups(self, scan: int, fingerprints: Sequence[str], since: float) -> list[FailureGroup]:
        """The images of a scan in quarantine, as in `seen`, by reason; those from `since` on are new."""
        values: dict[str, Cell] = {"scan": scan, "fingerprints": json.dumps(list(fingerprints)), "new": since}
        query = f"SELECT path, stage, reason, since >= :new FROM ({_REFUSED_SEEN}) ORDER BY since < :new, path"  # noqa: S608
        return grouped(self._db.read(Refused, query, values))

    def entries(self) -> list[Quarantined]:
        """Everything in quarantine that a file still holds, or may, by path."""
        found = self._holders.ask(_Entry, f"{_QUARANTINED} ORDER BY path, model")
        return [Quarantined(os.fsdecode(e.path), e.row, e.model, e.stage, e.reason, e.since) for e in found]

    def release_refused_for(self, reasons: Sequence[str]) -> None:
        """Let those go that were refused for one of these reasons, so that this run tries them again."""
        self._db.write(
            "DELETE FROM quarantine WHERE reason IN (SELECT value FROM json_each(?))", (json.dumps(reasons),)
        )

    def release(self) -> int:
        """Empty the quarantine, so that the next run tries those images again; how many images there were."""
        images = len({entry.path for entry in self.entries()})
        self._db.write("DELETE FROM quarantine")
        return images


def general(reason: str) -> str:
    """A reason without its numbers, in which images differ that were refused for the same."""
    return _NUMBER.sub("…", reason)


def grouped(refused: Iterable[Refused]) -> list[FailureGroup]:
    """Failures by reason; the largest groups first, new ones before those known, and what sums up the others last.

    An image that several models refused counts for each.
    """
    groups: dict[tuple[str, str], FailureGroup] = {}
    others = FailureGroup(None, None)
    for path, stage, reason, new in refused:
        key = (stage, general(reason))
        group = groups.get(key) or (FailureGroup(stage, reason) if len(groups) < _COUNTED else others)
        if group is not others:
            groups[key] = group
            group.reason = reason if group.reason == reason else key[1]
        group.new += new
        group.known += not new
        if len(group.examples) < EXAMPLES:
            group.examples.append(os.fsdecode(path))
    ordered = sorted(groups.values(), key=lambda group: (-group.new, -group.known))
    for group in ordered[SHOWN:]:
        others.new, others.known = others.new + group.new, others.known + group.known
    return [*ordered[:SHOWN], *([others] if others.new or others.known else [])]
