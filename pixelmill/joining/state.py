"""What is on record of the tables that were joined last: by that a night without changes is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pixelmill.joining.table import Table
from pixelmill.sources.files import Status


@dataclass(frozen=True, slots=True)
class Known:
    """What a table was when it was joined (None: it has to be read anew), and which columns it gave."""

    status: tuple[int, ...] | None = None
    columns: tuple[str, ...] = ()


State = Mapping[str, Known]
"""By the settings of each table, in their order."""


def name_of(table: Table) -> str:
    return table.model_dump_json(exclude_none=True)


def read_state(kept: Mapping[str, Any]) -> dict[str, Known]:
    """What a ledger kept; nothing of what makes no sense."""
    found = dict[str, Known]()
    for table in kept.get("tables", ()):
        match table:
            case {"table": str(name), "status": list() | None as status, "columns": list(columns)}:
                found[name] = Known(tuple(status) if status else None, tuple(map(str, columns)))
    return found


def written(state: State) -> dict[str, Any]:
    """What a ledger keeps."""
    return {
        "tables": [
            {"table": name, "status": list(known.status) if known.status else None, "columns": list(known.columns)}
            for name, known in state.items()
        ]
    }


def to_read_anew(state: State) -> dict[str, Known]:
    """The state in which each table is joined to all rows again."""
    return {name: replace(known, status=None) for name, known in state.items()}


def is_as_before(state: State, tables: Sequence[Table], now: Mapping[str, Status | str]) -> bool:
    """Whether the same tables are as they were when they were joined."""
    names = [name_of(table) for table in tables]
    return list(state) == names and all(is_known(now[name]) and state[name].status == now[name] for name in names)


def is_known(status: Status | str) -> bool:
    """Whether a change would be seen: a server may tell neither times nor etags."""
    return not isinstance(status, str) and bool(status.mtime_ns or status.tag)
