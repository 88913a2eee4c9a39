"""Nights over a ledger alone: what came with pictures is found, read and told, and no model sees any of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pixelmill.run.beside import read_beside
from pixelmill.run.companions import BesideReport
from pixelmill.run.scan import scan_sources
from pixelmill.store.ledger import Ledger

Said = dict[str, dict[str, Any]]


class Night:
    """A run without models: what is found gets rows, what came with it is read and told as a joiner asks for it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.changed: list[int] = []
        self.report = BesideReport()

    def __call__(self, *sources: Path | str, beside: bool = True) -> Said:
        """What is said of each image now, by its path below the sources' folder."""
        self.scan = scan_sources(self.ledger, [str(source) for source in sources], beside=beside)
        self.report = read_beside(self.ledger) if beside else BesideReport()
        self._embed()
        self.changed = list(self.ledger.beside.changed_rows())
        self.ledger.changes()
        self.ledger.beside.settle()
        self.ledger.settle()
        assert list(self.ledger.check()) == []
        return self.said()

    def said(self) -> Said:
        rows = range(self.ledger.contents.row_count())
        located = [(row, self.ledger.contents.live_path(row, b"")[1]) for row in rows]
        names = {row: os.fsdecode(path).rpartition("/")[2] for row, path in located}
        return {names[row]: dict(values) for row, values in self.ledger.beside.of_rows(located)}

    def _embed(self) -> None:
        """Give each file that waits a row, by its path: contents are not looked at."""
        first = self.ledger.contents.row_count()
        files = [file for file, row in self.ledger.worklist.images(self.scan.number) if row is None]
        digests = {file: file.encoded[-32:].rjust(32, b"\0") for file in files}
        known = self.ledger.contents.rows_of(list(digests.values()))
        rows = {
            digest: first + i for i, digest in enumerate(d for d in dict.fromkeys(digests.values()) if d not in known)
        }
        self.ledger.contents.record_rows(rows.items())
        self.ledger.contents.record_read((file, {**known, **rows}[digest]) for file, digest in digests.items())
