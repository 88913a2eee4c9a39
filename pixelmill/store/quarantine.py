"""Why images were refused: how many for which reason, how many of them lately, and some of their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pixelmill.store.holders import IN_DOUBT

SHOWN = 10
"""Reasons that are told one by one, those with most new failures first."""
EXAMPLES = 3
_TOLD_APART = 1_000
"""So many reasons are counted one by one; any more count among the others."""
_NUMBER = re.compile(r"\b\d[\d,]*(\.\d+)?\b")

# One line for each image of a scan and each reason why it was refused: for every model, or for one of the matrices
# named (a JSON list of fingerprints). It goes from the few that were refused to their files, not through all of a scan.
REFUSED_SEEN = """
    SELECT f.path, q.stage, q.reason, q.since
    FROM quarantine q CROSS JOIN files f ON f.row = q.row CROSS JOIN seen s ON s.scan = :scan AND s.path = f.path
    WHERE q.row IS NOT NULL AND NOT f.gone
        AND (q.fingerprint = '' OR q.fingerprint IN (SELECT value FROM json_each(:fingerprints)))
    UNION ALL
    SELECT f.path, q.stage, q.reason, q.since
    FROM quarantine q CROSS JOIN files f ON f.path = q.path CROSS JOIN seen s ON s.scan = :scan AND s.path = f.path
    WHERE q.row IS NULL AND f.row IS NULL AND NOT f.gone
"""

QUARANTINED = f"""
    SELECT f.path AS path, q.row, q.model AS model, q.stage, q.reason, q.since FROM quarantine q JOIN files f
        ON (q.row IS NOT NULL AND f.row = q.row) OR (q.row IS NULL AND f.path = q.path) WHERE NOT f.gone
    UNION ALL
    SELECT f.path, q.row, q.model, q.stage, q.reason, q.since FROM (SELECT path, held.row AS row FROM {IN_DOUBT}) AS f
        JOIN quarantine q ON q.row = f.row
"""  # noqa: S608 - constants
"""Everything in quarantine that a file holds, or that one which waits to be read again may."""


@dataclass(slots=True)
class FailureGroup:
    """Images refused at one stage for one reason (numbers in it aside): those new since the last run, those known
    before, and a few of their paths, new ones first. `stage` and `reason` None: all for which there was no room."""

    stage: str | None
    reason: str | None
    new: int = 0
    known: int = 0
    examples: list[str] = field(default_factory=list)


def general(reason: str) -> str:
    """A reason without its numbers, in which images differ that were refused for the same."""
    return _NUMBER.sub("…", reason)


def grouped(refused: Iterable[tuple[bytes, str, str, bool]]) -> list[FailureGroup]:
    """Failures, each (path, stage, reason, whether it is new), by reason; the largest groups first, new ones before
    those known, and what sums up the others last. An image that several models refused counts for each."""
    groups: dict[tuple[str, str], FailureGroup] = {}
    others = FailureGroup(None, None)
    for path, stage, reason, new in refused:
        key = (stage, general(reason))
        group = groups.get(key) or (FailureGroup(stage, reason) if len(groups) < _TOLD_APART else others)
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
