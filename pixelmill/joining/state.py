"""What is on record of what was joined last: by that a night without changes is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pixelmill.joining.table import LabelTable, Table
from pixelmill.sources.files import Status


@dataclass(frozen=True, slots=True)
class Known:
    """What a table was when it was joined (None: it has to be read anew), and which columns it gave."""

    status: tuple[int, ...] | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What of labels and tables is known, by the name of each, in their order; and whether what came with pictures is
    joined to all rows that were settled."""

    tables: Mapping[str, Known] = field(default_factory=dict)
    beside: bool = False

    def is_as(self, names: Sequence[str], now: Mapping[str, Status | str], *, beside: bool) -> bool:
        """Whether the same is to be joined as was, and the tables are as they were. Where only labels are named, the
        tables of other settings count for nothing."""
        before = list(self.tables) if not all(map(is_label, names)) else list(filter(is_label, self.tables))
        return (
            before == list(names) and self.beside == beside
            and all(is_known(now[name]) and self.tables[name].status == now[name] for name in names)
        )  # fmt: skip

    def to_join_anew(self) -> State:
        """The same, when it has to be joined to all rows again."""
        return State({name: replace(known, status=None) for name, known in self.tables.items()})


def name_of(table: Table) -> str:
    """The settings of a table; of labels where they are in the store, which may move."""
    return table.shown if isinstance(table, LabelTable) else table.model_dump_json(exclude_none=True)


def is_label(name: str) -> bool:
    """Whether labels are called so, and no table of the settings."""
    return not name.startswith("{")


def read_state(kept: Mapping[str, Any]) -> State:
    """What a ledger kept; nothing of what makes no sense."""
    found = dict[str, Known]()
    for table in kept.get("tables", ()):
        match table:
            case {"table": str(name), "status": list() | None as status, "columns": list(columns)}:
                found[name] = Known(tuple(status) if status else None, tuple(map(str, columns)))
    return State(found, kept.get("beside") is True)


def written(state: State) -> dict[str, Any]:
    """What a ledger keeps."""
    tables = [
        {"table": name, "status": list(known.status) if known.status else None, "columns": list(known.columns)}
        for name, known in state.tables.items()
    ]
    return {"tables": tables, "beside": state.beside}


def is_known(status: Status | str) -> bool:
    """Whether a change would be seen: a server may tell neither times nor etags."""
    return not isinstance(status, str) and bool(status.mtime_ns or status.tag)
