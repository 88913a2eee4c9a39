"""What is kept of runs: reports, self-checks, what is to be told by the next report, and whether clocks jumped."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pixelmill.store.database import Cell, Database
from pixelmill.store.sqlite_errors import LedgerDamaged

log = logging.getLogger(__name__)

CHECKS_KEPT = 30
_BEGUN: Final = "begun "
"""And when a run began: the key of what is on record of it until it leaves its report."""

_UNEVEN_SECONDS = 3600.0
"""A clock that is set right by less has not jumped."""
_LEFT_ALONE_SECONDS = 60 * 86_400.0
"""Seconds between two writers of a store, at most; what is longer is a clock that jumped."""


class Begun(NamedTuple):
    """What is on record of a run that has left no report yet: when it began and was last heard of (Unix seconds), its
    scan, its models, the vectors that it has stored by model, and the images seen below its sources."""

    started: float
    scan: int
    last: float
    models: tuple[str, ...]
    embedded: Mapping[str, int] = {}
    sources: Mapping[str, int] = {}


class Runs:
    """What earlier runs have left to be told."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def notify(self, notice: str) -> None:
        """Say something aloud, and in the report of the run that settles next."""
        log.warning("%s", notice)
        before = self.notice()
        if notice not in before:
            self._db.set_meta("notice", f"{before} {notice}".strip())

    def notice(self) -> str:
        """What has happened to the store itself since the last settled run; '' if nothing has."""
        return str(self._db.meta("notice") or "")

    def begin(self, started: float, scan: int, models: Sequence[str]) -> None:
        """Say that the run began at `started` (Unix seconds) whose scan this is: should it be killed, that is known."""
        self._keep(Begun(started, scan, started, tuple(models)))

    def begun(self) -> list[Begun]:
        """The runs that have left no report yet, the oldest first."""
        query = "SELECT value FROM meta WHERE key >= ? AND key < ?"
        kept = self._nicety(query, _BEGUN, f"{_BEGUN}~")
        return sorted((begun for (told,) in kept if (begun := _begun(_report(told)))), key=lambda begun: begun.started)

    def tell_seen(self, scan: int, sources: Mapping[str, int]) -> None:
        """Say of the run of a scan which sources it has seen, with how many images."""
        for begun in self._of(scan):
            self._keep(begun._replace(last=time.time(), sources=dict(sources)))

    def tell_embedded(self, scan: int, embedded: Mapping[str, int]) -> None:
        """Say of the run of a scan that it has stored so many vectors more, by model."""
        for begun in self._of(scan):
            total = {m: begun.embedded.get(m, 0) + embedded.get(m, 0) for m in {**begun.embedded, **embedded}}
            self._keep(begun._replace(last=time.time(), embedded=total))

    def _of(self, scan: int) -> list[Begun]:
        return [begun for begun in self.begun() if begun.scan == scan]

    def _keep(self, begun: Begun) -> None:
        self._db.set_meta(f"{_BEGUN}{begun.started!r}", json.dumps(begun._asdict()))

    def record(self, started: float, report: dict[str, Any], *, is_finished: bool = True) -> bool:
        """Keep the report of the run that began at `started`, once; whether that could be done: a run does not fail for
        a damaged table of reports. `is_finished`: whether it came to its end."""
        values = (started, time.time() if is_finished else None, json.dumps(report))
        once = "WHERE NOT EXISTS (SELECT 1 FROM runs WHERE started = ?1)"
        try:
            self._db.write(f"INSERT INTO runs (started, finished, report) SELECT ?1, ?2, ?3 {once}", values)
        except LedgerDamaged as error:
            log.warning("the report cannot be kept in %s (%s): run `pixelmill repair`", self._db.path, error)
            return False
        self._db.write("DELETE FROM meta WHERE key = ?", (f"{_BEGUN}{started!r}",))
        return True

    def last(self, most: int = 14) -> list[dict[str, Any]]:
        """The reports of the last runs, newest first; an empty one stands for each that cannot be read."""
        return [_report(report) for (report,) in self._nicety("SELECT report FROM runs ORDER BY id DESC LIMIT ?", most)]

    def last_finished(self) -> float | None:
        """When the last run came to its end, in Unix seconds; None before there was one."""
        found = self._nicety("SELECT max(finished) FROM runs WHERE typeof(finished) = 'real'")
        return finished if found and isinstance(finished := found[0][0], float) else None

    def _nicety(self, query: str, *values: Cell) -> list[tuple[Cell, ...]]:
        """What is to be had of earlier runs: nothing of a damaged table, for which no run should fail."""
        try:
            return list(self._db.cells(query, values))
        except LedgerDamaged as error:
            log.warning("earlier runs cannot be read in %s (%s): run `pixelmill repair`", self._db.path, error)
            return []

    def record_check(self, fingerprint: str, compared: int, least_cosine: float) -> None:
        """Keep how near to what is stored a matrix' sample came when it was embedded again just now."""
        kept = [*self.checks(fingerprint), (time.time(), compared, least_cosine)][-CHECKS_KEPT:]
        self._db.set_meta(f"checks {fingerprint}", json.dumps(kept))

    def checks(self, fingerprint: str) -> list[tuple[float, int, float]]:
        """Those of the last nights, the oldest first: when (Unix seconds), how many vectors, their least cosine."""
        try:
            kept = json.loads(self._text(f"checks {fingerprint}") or "[]")
            return [(float(when), int(compared), float(cosine)) for when, compared, cosine in kept]
        except (ValueError, TypeError):
            log.warning("the self-checks of earlier runs cannot be read in %s: run `pixelmill repair`", self._db.path)
            return []

    def steady_since(self, now: float) -> float:
        """Since when the clock, which says `now` (Unix seconds), has not jumped, as far as writers of the store saw; 0
        if it never has. A step back, or one that is longer than stores are left alone, is a jump."""
        last, since = self._clock(now)
        step = 0.0 if last is None else now - last
        if not -_UNEVEN_SECONDS <= step <= _LEFT_ALONE_SECONDS:
            since = now
        if last is None or abs(step) > _UNEVEN_SECONDS:
            self._db.set_meta("clock", json.dumps([now, since]))
        return float(since)

    def _clock(self, now: float) -> tuple[float | None, float]:
        """When a writer last looked at the clock, and since when that had not jumped: now, if that cannot be read."""
        try:
            last, since = json.loads(self._text("clock") or "[null, 0]")
            return (None if last is None else float(last)), float(since)
        except (ValueError, TypeError):
            return None, now

    def _text(self, key: str) -> str:
        """A text that is kept under a key; '' for none, and for what is no text."""
        found = self._db.meta(key)
        return found if isinstance(found, str) else ""


def _begun(told: dict[str, Any]) -> Begun | None:
    """What was told of a run, as it was kept; None for what was damaged since."""
    try:
        counts = ({str(k): int(count) for k, count in told[name].items()} for name in ("embedded", "sources"))
        times = float(told["started"]), int(told["scan"]), float(told["last"])
        return Begun(*times, tuple(map(str, told["models"])), *counts)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _report(text: object) -> dict[str, Any]:
    """A report as it was kept; {} for one that was damaged since."""
    try:
        report = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}
