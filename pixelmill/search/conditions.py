"""Conditions in SQL, as `width >= 1000 AND path LIKE '2024/%'`: read, and answered for lines of values.

DuckDB reads and answers them, in memory, without files, network or extensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ALONE: Final = {
    "enable_external_access": "false", "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "lock_configuration": "true",
}  # fmt: skip
_REFUSED: Final = {
    "SUBQUERY": "a query inside it", "PARAMETER": "a parameter", "POSITIONAL_REFERENCE": "the number of a column",
    "STAR": "columns by a pattern",
}  # fmt: skip
_NOW: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""What reads like a column, and is a moment."""
_FLEETING: Final = frozenset({
    "age", "current_date", "current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp",
    "now", "random", "today", "transaction_timestamp",
})  # fmt: skip
"""Functions that answer otherwise from one moment to the next."""
_BOUNDED: Final = frozenset({
    "+", "-", "*", "/", "//", "%", "~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "not_like_escape",
    "ilike_escape", "not_ilike_escape", "regexp_full_match", "regexp_matches", "contains", "starts_with", "ends_with",
    "prefix", "suffix", "lower", "upper", "trim", "ltrim", "rtrim", "length", "strlen", "left", "right", "substring",
    "abs", "sign", "round", "floor", "ceil", "ceiling", "trunc", "sqrt", "pow", "power", "ln", "log", "log10", "exp",
    "sin", "cos", "asin", "acos", "radians", "degrees", "least", "greatest", "coalesce", "ifnull", "nullif", "isnan",
    "date_part", "date_trunc", "date_diff", "datediff", "year", "quarter", "month", "week", "day", "hour", "minute",
    "second", "dayofweek", "isodow", "dayofyear", "dayname", "monthname", "last_day", "make_date", "to_years",
    "to_months", "to_weeks", "to_days", "to_hours", "to_minutes", "to_seconds", "to_milliseconds", "now", "today",
})  # fmt: skip
"""Functions whose answer is not much larger than what they are given: no `repeat`, no lists, no joining of texts."""
_LINE: Final = "the line"
"""The column of lines' numbers. No condition names it: no column of a store has a blank in its name."""
_TOLD: Final = 200
"""Characters of a condition that an error repeats."""
_MORE: Final = "It is more than one condition"
_EXAMPLE: Final = "width >= 1000 AND path LIKE '2024/%'"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as it was written, the columns that it names, the functions that it calls, and whether others may
    fulfil it a moment later."""

    text: str
    named: frozenset[str]
    calls: frozenset[str]
    fleeting: bool


def _explained(error: str) -> str:
    """What the parser says, and what to do where it stumbles over a column of a name as `when`, a word of SQL."""
    word = error.partition('at or near "')[2].removesuffix('"')
    return f'{error}. A column of that name stands in double quotes: "{word}"' if word.isidentifier() else error


@lru_cache(maxsize=64)
def read(text: str) -> Condition:
    """What a text is as a condition, whatever columns there are. Raises QueryError for what is none."""
    tree = _tree(text)
    if tree.get("error", True):
        wrong = tree.get("error_type") == "parser"
        raise no_condition(text, f"SQL does not read so: {_explained(tree['error_message'])}" if wrong else _MORE)
    nodes = list(_nodes(_expression(tree["statements"], text)))
    for node in nodes:
        if found := _REFUSED.get(node.get("class", "")):
            raise no_condition(text, f"It has {found}")
    named = {".".join(node["column_names"]) for node in nodes if node.get("class") == "COLUMN_REF"}
    moments = {name for name in named if name.lower() in _NOW}
    calls = frozenset(node["function_name"] for node in nodes if node.get("class") in ("FUNCTION", "WINDOW"))
    return Condition(text, frozenset(named - moments), calls, bool(moments or calls & _FLEETING))


def require_bounded(text: str) -> None:
    """Raise QueryError for a condition that could take memory without end, as one that somebody sends over a network
    must not: it calls only functions that are known to give no more than they take."""
    beyond = sorted(read(text).calls - _BOUNDED)
    if beyond:
        raise no_condition(text, f"It calls {', '.join(beyond)}, which is not taken here")


def engine() -> DuckDBPyConnection:
    """What answers, and reaches nothing else."""
    import duckdb

    return duckdb.connect(":memory:", config=dict(_ALONE))


def fulfilling(
    asked: DuckDBPyConnection, lines: Mapping[str, NDArray[Any]], number: int, condition: str
) -> NDArray[np.int64]:
    """Which of a `number` of lines fulfil a condition over them; an empty text is NULL. Raises QueryError."""
    import duckdb

    asked.register("given", {**lines, _LINE: np.arange(number)})
    shown = ", ".join([_shown(name, values) for name, values in lines.items()] + [f'"{_LINE}"'])
    query = f'SELECT "{_LINE}" FROM (SELECT {shown} FROM given) AS pictures WHERE (\n{condition}\n)'  # noqa: S608
    try:
        return np.asarray(asked.execute(query).fetchnumpy()[_LINE], dtype=np.int64)
    except duckdb.Error as error:
        raise no_condition(condition, str(error).partition("\n")[0]) from error
    finally:
        asked.unregister("given")


def no_condition(condition: str, why: str) -> QueryError:
    """The error for what is no condition."""
    told = repr(condition)
    told = told if len(told) <= _TOLD else f"{told[:_TOLD]}…"
    return QueryError(f"Expected a condition in SQL such as {_EXAMPLE}. Got {told}. {why.rstrip('.!')}.")


def _shown(name: str, values: NDArray[Any]) -> str:
    """Texts are said to be some: the engine cannot tell from lines of which none has one."""
    return f'nullif("{name}"::VARCHAR, \'\') AS "{name}"' if values.dtype == object else f'"{name}"'


def _expression(statements: Sequence[Any], condition: str) -> Any:
    """The one expression of `SELECT …`: a text may be more than that."""
    node = statements[0]["node"] if len(statements) == 1 else {}
    rest = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if (
        node.get("type") != "SELECT_NODE" or len(node["select_list"]) != 1 or any(node[part] for part in rest)
        or node["from_table"]["type"] != "EMPTY" or node["cte_map"]["map"]
    ):  # fmt: skip
        raise no_condition(condition, _MORE)
    return node["select_list"][0]


def _tree(condition: str) -> dict[str, Any]:
    """What SQL makes of a condition. Raises QueryError for what no engine can read."""
    import duckdb

    try:
        with closing(engine()) as asked:
            found = asked.execute("SELECT json_serialize_sql(?)", [f"SELECT\n{condition}\n"]).fetchone()
        return dict(json.loads(found[0] if found else "{}"))
    except duckdb.Error as error:  # such as bytes that are no UTF-8
        raise no_condition(condition, str(error).partition("\n")[0]) from error
    except RecursionError as error:
        raise no_condition(condition, "It is nested too deeply") from error


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        branch = waiting.pop()
        if isinstance(branch, dict):
            yield branch
            waiting += branch.values()
        elif isinstance(branch, list):
            waiting += branch
