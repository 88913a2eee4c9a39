"""Tables joined to the rows of a store: when they are read, and what becomes of it when one of them cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pixelmill.errors import PixelmillError, reason_of
from pixelmill.joining.columns import Columns, joined_columns, put_rows
from pixelmill.joining.engine import Engine, EngineError, engine
from pixelmill.joining.fetch import fetch, status_of
from pixelmill.joining.lines import NoTable
from pixelmill.joining.load import Loaded, load
from pixelmill.joining.match import match
from pixelmill.joining.state import Known, State, is_as_before, is_known, name_of, read_state, to_read_anew, written
from pixelmill.joining.table import Table
from pixelmill.joining.told import ColumnsReport, TableReport
from pixelmill.sources.files import Status
from pixelmill.store.column_writer import drop
from pixelmill.store.commit import StoreWriter
from pixelmill.watch.calls import answer
from pixelmill.watch.clocks import past
from pixelmill.watch.saying import saying
from pixelmill.watch.stopping import asked


class _Late(PixelmillError, RuntimeError):
    """The deadline came, or the run was asked to stop."""


@dataclass(slots=True)
class _Read:
    """What came of reading some tables: those that are loaded, what each was then, and why others are not."""

    loaded: list[Loaded] = field(default_factory=list)
    status: dict[str, Status] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def kept(self, state: State) -> list[str]:
        """The columns that tables which cannot be read may give: nobody knows which, so all that are not read stay."""
        read = {name_of(table.table) for table in self.loaded}
        return [c for name, known in state.items() if name not in read for c in known.columns] if self.problems else []

    def state(self, tables: Sequence[Table], before: State) -> State:
        """What is on record of the tables from now on."""
        columns = {name_of(one.table): tuple(one.columns) for one in self.loaded}
        return {
            name: Known(self.status.get(name), columns.get(name, before.get(name, Known()).columns))
            for name in map(name_of, tables)
        }


def join_tables(writer: StoreWriter, tables: Sequence[Table], deadline: float | None = None) -> ColumnsReport:
    """Publish what tables say of the rows of a store. Where they are as they were, only the rows of files that are new
    or have changed are looked at; where there are none, no table is read.

    To be called before the ledger settles these files. A table that cannot be read costs itself: its columns stay as
    they are, and all rows are joined when it can be read again; so they are after the deadline, or a run without
    tables.
    """
    joins, tables = writer.ledger.joins, tuple(dict.fromkeys(tables))
    state, touched = read_state(joins.known()), joins.touched_rows()
    if not tables:
        if state and len(touched):
            joins.keep(written(to_read_anew(state)))
        return ColumnsReport()
    now = {name_of(table): _told(partial(status_of, table.path), deadline) for table in tables}
    as_before = is_as_before(state, tables, now)
    if as_before and not len(touched):
        return ColumnsReport()
    try:
        with saying("Joining tables"), engine() as sql:
            read = _load(sql, tables, deadline)
            report = _join(sql, writer, tables, read, state, touched if as_before else None, partial(_check, deadline))
            joins.keep(written(read.state(tables, state)))
            return report
    except _Late:
        report = ColumnsReport(left=True)
    except EngineError as error:
        report = ColumnsReport(problem=f"The tables were not joined: {error}")
    joins.keep(written(to_read_anew(state)))
    return report


def _check(deadline: float | None) -> None:
    if past(deadline) or asked():
        raise _Late("The run comes to its end.")


def _load(sql: Engine, tables: Sequence[Table], deadline: float | None) -> _Read:
    read = _Read()
    for number, table in enumerate(tables):
        _check(deadline)
        name, file = name_of(table), sql.place / f"table-{number}"
        status = _told(partial(fetch, table.path, file), deadline)
        if isinstance(status, str):
            read.problems[name] = status
            continue
        try:
            read.loaded.append(load(sql, table, number, file))
            read.status |= {name: status} if is_known(status) else {}
        except (NoTable, EngineError, OSError) as error:
            read.problems[name] = reason_of(error).replace(str(file), table.shown)
        file.unlink(missing_ok=True)
    return read


def _told(ask: Callable[[], Status], deadline: float | None) -> Status | str:
    """What is known of a table, or why that cannot be said."""
    try:
        return answer(ask, deadline=deadline)
    except (OSError, PixelmillError) as error:
        return reason_of(error)


def _join(
    sql: Engine, writer: StoreWriter, tables: Sequence[Table], read: _Read, state: State, rows: np.ndarray | None,
    check: Callable[[], None],
) -> ColumnsReport:  # fmt: skip
    store = writer.snapshot()
    columns = Columns(sql, store, read.loaded, read.kept(state))
    rows = rows if columns.are_begun else None
    known = put_rows(sql, writer, store, read.loaded, rows, check)
    found = {name_of(table.table): _report(sql, columns, table, is_whole=rows is None) for table in read.loaded}
    changed = columns.join(writer, rows, known, check)
    gone = () if read.problems else tuple(name for name in joined_columns(store) if name not in columns.names)
    drop(writer, gone)
    unread = {
        name_of(table): TableReport(path=table.shown, problem=read.problems.get(name_of(table), "")) for table in tables
    }
    reports = tuple((unread | found).values())
    return ColumnsReport(rows=changed, new=columns.new, dropped=gone, no_room=columns.no_room, tables=reports)


def _report(sql: Engine, columns: Columns, loaded: Loaded, *, is_whole: bool) -> TableReport:
    """Match the lines of a table, and what there is to tell of it. Which belong to no picture is known when all rows
    are looked at."""
    matched, bad = match(sql, loaded), loaded.bad + columns.unreadable(loaded)
    (lines,) = sql.numbers(f"SELECT count(*) FROM {loaded.lines}")  # noqa: S608 - our names
    return TableReport(
        path=loaded.table.shown, lines=lines, unmatched=matched.unmatched if is_whole else 0,
        repeated=matched.repeated, shared=matched.shared, unreadable=bad.number, examples=bad.examples,
        notes=loaded.notes,
    )  # fmt: skip
