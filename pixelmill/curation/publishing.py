"""A column that is made of vectors, published; and the time that a night has for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import numpy as np

from pixelmill.errors import PixelmillError
from pixelmill.store.column_writer import join
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.watch.clocks import past
from pixelmill.watch.stopping import asked

_TURNS: Final = 3


class Late(PixelmillError, RuntimeError):
    """The deadline came, or the run was asked to stop."""


def in_time(deadline: float | None) -> None:
    """Raise Late when there is no time left."""
    if past(deadline) or asked():
        raise Late("The run comes to its end.")


def publish(writer: StoreWriter, group: ColumnGroup, values: np.ndarray) -> None:
    """Let the one column of a group have these values, in the first rows of the store; in later ones nothing. Again, if
    others have changed or merged the columns meanwhile."""
    (column,) = group.columns

    def of_rows(start: int, stop: int) -> dict[str, np.ndarray]:
        result, some = column.empty(stop - start), values[start:stop]
        result[: len(some)] = some
        return {column.name: result}

    for _ in range(_TURNS - 1):
        with suppress(Overtaken):
            join(writer, [group], of_rows)
            return
    join(writer, [group], of_rows)
