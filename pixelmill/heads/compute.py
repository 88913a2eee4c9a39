"""The columns and matrices of heads brought up to date with the vectors of a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError, StoreBusy, reason_of
from pixelmill.heads.define import Definition, Encoders, Made, define
from pixelmill.heads.head import ColumnHead, Head, PcaHead
from pixelmill.heads.kept import keep, kept
from pixelmill.heads.pca import fill_pca
from pixelmill.heads.scorer import Scorer
from pixelmill.heads.told import HeadReport
from pixelmill.search.projection import BACKEND, remove_others
from pixelmill.store import column_writer, matrix_writer
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Manifest
from pixelmill.store.reader import BLOCK, MatrixView
from pixelmill.watch.calls import begin
from pixelmill.watch.clocks import past
from pixelmill.watch.stopping import asked

OVERTIME: Final = 60.0
"""Seconds that the heads of a run get together after its deadline: a night whose embedding takes all of it has them as
well."""
ROWS: Final = 16 * BLOCK
"""Rows whose values are published together: what a run that dies has published, the next one does not make again."""
_NUMBERS: Final = 1 << 22
"""So many outputs of a layer are in memory at once."""
_SOURCE: Final = "head "


class NameTaken(PixelmillError, ValueError):
    """A head whose columns, or whose matrix, would take the place of others."""


def compute_heads(
    writer: StoreWriter, heads: Mapping[str, Head], encoders: Encoders, *, deadline: float | None = None
) -> tuple[HeadReport, ...]:
    """Fill the columns of each head, in order, for the rows whose vectors they have not seen; all of them anew for
    another head, or other vectors; likewise the matrix of one that makes one. A head that cannot be made costs itself:
    what it had made stays as it is. Columns and matrices of heads that are not among them any more are dropped. Raises
    StoreBusy."""
    end = None if deadline is None else max(deadline, time.time() + OVERTIME)
    done = []
    for name, head in heads.items():
        told = HeadReport(name=name, kind=head.kind, model=head.model)
        try:
            begin("head", name)
            done.append(_filled(writer, told, head, encoders, lambda: past(end) or asked()))
        except StoreBusy:
            raise
        except (PixelmillError, OSError) as error:
            done.append(told.model_copy(update={"problem": reason_of(error)}))
    _drop_others(writer, heads)
    return tuple(done)


def group_of(name: str, fingerprint: str) -> ColumnGroup:
    """The columns of a head: its label, and how likely that is."""
    columns = (Column(name=name, kind="text"), Column(name=f"{name}.score", kind="float64"))
    return ColumnGroup(source=f"{_SOURCE}{name}", version=fingerprint, columns=columns)


def _filled(
    writer: StoreWriter, told: HeadReport, head: Head, encoders: Encoders, stop: Callable[[], bool]
) -> HeadReport:
    if isinstance(head, PcaHead):
        _require_free(writer.snapshot().manifest, told.name)
        return fill_pca(writer, told, head, stop)
    return _computed(writer, told, head, encoders, stop)


def _require_free(manifest: Manifest, name: str) -> None:
    """Raises NameTaken where a matrix or an ensemble of the store is called so that is no head's."""
    others = [matrix.provenance for matrix in manifest.matrices if matrix.provenance.model == name]
    if any(made.backend != BACKEND for made in others) or manifest.ensemble(name):
        raise NameTaken(
            f"Expected a name that no model and no ensemble of the store has: {name} is one. Call the head otherwise."
        )


def _computed(
    writer: StoreWriter, told: HeadReport, head: ColumnHead, encoders: Encoders, stop: Callable[[], bool]
) -> HeadReport:
    store = writer.snapshot()
    view = store[head.model]
    definition = define(head, store, view, encoders)
    group = group_of(told.name, definition.fingerprint)
    is_anew = _is_anew(store.manifest, group)
    lacking = np.flatnonzero(view.embedded & ~store.embedded(group))
    filling = _Filling(writer, group, view, lacking, stop)
    notes = filling.fill(definition) if len(lacking) else ()
    if not filling.left:
        column_writer.serve(writer, group.fingerprint, is_whole=True)
    rows = len(lacking) - filling.left
    return told.model_copy(update={"rows": rows, "pending": filling.left, "is_anew": is_anew, "notes": notes})


def _is_anew(manifest: Manifest, group: ColumnGroup) -> bool:
    """Whether the columns are there of another head, or other vectors. Raises NameTaken."""
    before = [served[0] for column in group.columns if (served := manifest.column(column.name))]
    for other in before:
        if other.source != group.source:
            names = " and ".join(column.name for column in group.columns)
            raise NameTaken(
                f"Expected a name whose columns are free: {names}. The store has one already, of source "
                f"{other.source!r}. Call the head otherwise."
            )
    return any(other.fingerprint != group.fingerprint for other in before)


@dataclass
class _Filling:
    """The `lacking` rows of a head, filled until somebody says `stop`; how many are `left`."""

    writer: StoreWriter
    group: ColumnGroup
    view: MatrixView
    lacking: NDArray[np.int64]
    stop: Callable[[], bool]
    left: int = 0

    def fill(self, definition: Definition) -> tuple[str, ...]:
        """Publish their values; what there is to tell of how they were made."""
        self.left = len(self.lacking)
        if self.stop():
            return ()
        scorer, notes = self._made(definition)
        column_writer.begin(self.writer, self.group)
        for start in range(0, len(self.lacking), ROWS):
            rows = self.lacking[start : start + ROWS]
            found = list(self._blocks(scorer, rows))
            if self.stop():
                break
            labels, scores = (np.concatenate(values) for values in zip(*found, strict=True))
            values = dict(zip((column.name for column in self.group.columns), (labels, scores), strict=True))
            column_writer.fill(self.writer, self.group, rows, values)
            self.left -= len(rows)
        return notes

    def _made(self, definition: Definition) -> Made:
        """The head's layers, kept from an earlier night if they take a while to make."""
        place, name, fingerprint = self.writer.folder, self.group.columns[0].name, definition.fingerprint
        if definition.is_worth_keeping and (found := kept(place, name, fingerprint, self.view.provenance.dim)):
            return found, definition.notes
        scorer, notes = definition.make()
        if definition.is_worth_keeping:
            keep(place, name, fingerprint, scorer)
        return scorer, (*definition.notes, *notes)

    def _blocks(
        self, scorer: Scorer, rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.object_], NDArray[np.float64]]]:
        step = max(min(BLOCK, _NUMBERS // scorer.width), 1)
        for start in range(0, len(rows), step):
            if self.stop():
                return
            begin("head", f"row {rows[start]}")
            yield scorer(self.view.take(rows[start : start + step]))


def _drop_others(writer: StoreWriter, heads: Mapping[str, Head]) -> None:
    manifest = writer.snapshot().manifest
    known = {f"{_SOURCE}{name}" for name, head in heads.items() if not isinstance(head, PcaHead)}
    groups = [g for g in manifest.columns if g.source.startswith(_SOURCE) and g.source not in known]
    column_writer.drop(writer, [column.name for group in groups for column in group.columns])
    made = [matrix for matrix in manifest.matrices if matrix.provenance.backend == BACKEND]
    projected = {name for name, head in heads.items() if isinstance(head, PcaHead)}
    matrix_writer.drop(writer, {m.fingerprint for m in made if m.provenance.model not in projected})
    remove_others(writer.folder, writer.snapshot().manifest)
