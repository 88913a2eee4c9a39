"""Tables, and what came with pictures, joined to the rows of a store: when, and what becomes of what cannot be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pixelmill.errors import PixelmillError, StoreDamaged, reason_of
from pixelmill.joining.columns import BESIDE, LABEL, TABLE, Columns, joined_columns, room
from pixelmill.joining.engine import Engine, EngineError, engine
from pixelmill.joining.fetch import fetch, status_of
from pixelmill.joining.lines import NoTable
from pixelmill.joining.load import Loaded, load
from pixelmill.joining.match import match, put_rows
from pixelmill.joining.said import load_said
from pixelmill.joining.state import Known, State, is_known, is_label, name_of, read_state, written
from pixelmill.joining.table import LabelTable, Table, label_tables
from pixelmill.joining.told import BesideCounts, ColumnsReport, TableReport
from pixelmill.sources.files import Status
from pixelmill.store.column_writer import drop
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.watch.calls import answer
from pixelmill.watch.clocks import past
from pixelmill.watch.saying import saying
from pixelmill.watch.stopping import asked

log = logging.getLogger(__name__)

OVERTIME = 60.0
"""Seconds that a join gets after the deadline: a night whose embedding takes all of it has columns as well."""
_TURNS = 3
"""How often all is joined because others changed or merged the columns meanwhile, before it counts as failed."""


class _Late(PixelmillError, RuntimeError):
    """The deadline came, or the run was asked to stop."""


def join_columns(
    writer: StoreWriter, tables: Sequence[Table] = (), *, beside: bool = False, deadline: float | None = None
) -> ColumnsReport:
    """Publish what the labels of a store and tables say of its rows, and, if the last scan looked for it, what came
    `beside` pictures.

    Where nothing has changed in them, only the rows of files that are new or have changed are looked at; where there
    are none, no table is read. To be called before the ledger settles these files. A table that cannot be read costs
    itself: its columns stay as they are, and all rows are joined when it can be read again; so they are after a
    deadline, or a run that joins nothing.
    """
    for _ in range(_TURNS - 1):
        with suppress(Overtaken):
            return _joined(writer, tables, beside, deadline)
        log.warning("%s: another process has changed the columns meanwhile: they are joined anew", writer.folder)
    return _joined(writer, tables, beside, deadline)


def _joined(writer: StoreWriter, tables: Sequence[Table], beside: bool, deadline: float | None) -> ColumnsReport:
    ledger, tables = writer.ledger, (*label_tables(writer.folder), *dict.fromkeys(tables))
    beside = beside and not ledger.beside.is_empty()
    state = read_state(ledger.joins.known())
    touched = np.fromiter(ledger.beside.changed_rows(), np.int64) if beside else ledger.joins.touched_rows()
    if not tables and not beside and not any(map(is_label, state.tables)):
        if len(touched):
            ledger.joins.keep(written(state.to_join_anew()))
        return ColumnsReport()
    deadline = None if deadline is None else max(deadline, time.time() + OVERTIME)
    now = {name_of(table): _told(partial(status_of, table.path), deadline) for table in tables}
    as_before = state.is_as(list(now), now, beside=beside)
    if as_before and not len(touched):
        return ColumnsReport()
    try:
        with saying("Joining columns"), engine() as sql:
            joining = _Joining(sql, writer, tables, beside, state, partial(_check, deadline))
            joining.load(deadline)
            report = joining.join(touched if as_before else None)
    except _Late:
        report, after = ColumnsReport(left=True), state.to_join_anew()
    except (EngineError, StoreDamaged) as error:
        report, after = ColumnsReport(problem=f"Columns were not joined: {error}"), state.to_join_anew()
    else:
        after = joining.state()
        if beside:
            ledger.beside.settle()
    ledger.joins.keep(written(after))
    return report


def _check(deadline: float | None) -> None:
    if past(deadline) or asked():
        raise _Late("The run comes to its end.")


def _told(ask: Callable[[], Status], deadline: float | None) -> Status | str:
    """What is known of a table, or why that cannot be said."""
    try:
        return answer(ask, deadline=deadline)
    except (OSError, PixelmillError) as error:
        return reason_of(error)


@dataclass(slots=True)
class _Joining:
    """One join. Of the tables those are `loaded` that can be read, with what they are now (`status`); of others it is
    known why not (`problems`). `check` raises when there is no time left."""

    sql: Engine
    writer: StoreWriter
    tables: Sequence[Table]
    beside: bool
    before: State
    check: Callable[[], None]
    loaded: list[Loaded] = field(default_factory=list)
    status: dict[str, Status] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def load(self, deadline: float | None) -> None:
        """Read the tables."""
        for number, table in enumerate(self.tables):
            self.check()
            name, file = name_of(table), self.sql.place / f"table-{number}"
            status = _told(partial(fetch, table.path, file), deadline)
            if isinstance(status, str):
                self.problems[name] = status
                continue
            try:
                self.loaded.append(load(self.sql, table, number, file))
                self.status |= {name: status} if is_known(status) else {}
            except (NoTable, EngineError, OSError) as error:
                self.problems[name] = reason_of(error).replace(str(file), table.shown)
            file.unlink(missing_ok=True)

    def join(self, rows: np.ndarray | None) -> ColumnsReport:
        """Publish the columns of `rows` (None: all), or of all rows, if a column is new or of another kind."""
        store, is_whole = self.writer.snapshot(), rows is None
        columns = joined_columns(store)
        said = None
        if self.beside:
            number = len(self.tables) + is_whole
            names = (set(columns).union(*(table.columns for table in self.loaded)), room(columns, BESIDE))
            said = load_said(self.sql, self.writer.ledger, store, number, rows, names, self.check)
        found = Columns(self.sql, store, self.loaded, said, self._kept(), is_whole=is_whole)
        if not is_whole and not found.are_begun:
            return self.join(None)
        keys = list(dict.fromkeys(one.table.key for one in self.loaded))
        known = put_rows(self.sql, self.writer.ledger, store, keys, rows, self.check)
        told = {name_of(one.table): self._report(one, found, is_whole=is_whole) for one in self.loaded}
        unfit = found.unfit(said.given) if said else None
        changed = found.join(self.writer, rows, known, self.check)
        drop(self.writer, found.gone)
        return ColumnsReport(
            rows=changed, new=found.new, dropped=found.gone, no_room=found.no_room,
            tables=tuple(told.get(name_of(table)) or self._unread(table) for table in self.tables),
            beside=BesideCounts(unfit=unfit.number, examples=unfit.examples) if unfit else BesideCounts(),
        )  # fmt: skip

    def _kept(self) -> set[str]:
        """The columns that stay as they are: those of labels and tables that are not read now, of which nobody knows
        whether they have others by now, and what came with pictures, if nobody has looked."""
        read = {name_of(one.table) for one in self.loaded}
        given = {name for one in self.loaded for name in one.columns}
        of_tables = {name for one in self.loaded if not is_label(name_of(one.table)) for name in one.columns}
        unread = {LABEL: any(map(is_label, self.problems)), BESIDE: not self.beside}
        unread[TABLE] = not self._names_tables or not all(map(is_label, self.problems))
        stay = {
            name for name, group in joined_columns(self.writer.snapshot()).items()
            if unread[group.source] and name not in (of_tables if group.source == TABLE else given)
        }  # fmt: skip
        return stay.union(*(
            known.columns for name, known in self.before.tables.items()
            if name not in read and unread[LABEL if is_label(name) else TABLE]
        ))  # fmt: skip

    @property
    def _names_tables(self) -> bool:
        """Whether the settings name any."""
        return not all(isinstance(table, LabelTable) for table in self.tables)

    def _report(self, loaded: Loaded, found: Columns, *, is_whole: bool) -> TableReport:
        """Match the lines of a table, and what there is to tell of it. Which belong to no picture is known when all
        rows are looked at."""
        matched, bad = match(self.sql, loaded), loaded.bad + found.unfit(loaded)
        (lines,) = self.sql.numbers(f"SELECT count(*) FROM {loaded.lines}")  # noqa: S608 - our names
        return TableReport(
            path=loaded.table.shown, lines=lines, unmatched=matched.unmatched if is_whole else 0,
            repeated=matched.repeated, shared=matched.shared, unreadable=bad.number, examples=bad.examples,
            notes=loaded.notes,
        )  # fmt: skip

    def _unread(self, table: Table) -> TableReport:
        return TableReport(path=table.shown, problem=self.problems[name_of(table)])

    def state(self) -> State:
        """What is on record from now on. Tables that this run was not asked for are to be joined anew."""
        columns = {name_of(one.table): tuple(one.columns) for one in self.loaded}
        known = {
            name: Known(self.status.get(name), columns.get(name, self.before.tables.get(name, Known()).columns))
            for name in map(name_of, self.tables)
        }
        others = {} if self._names_tables else self.before.to_join_anew().tables
        return State(known | {name: table for name, table in others.items() if not is_label(name)}, self.beside)
