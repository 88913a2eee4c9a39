"""What there is to tell of a join."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeInt


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class TableReport(_Told):
    """A table that was read: its `lines`; how many are `unmatched`, as no picture has their key, or are `repeated`, as
    a later line has it again; how many keys are `shared` by several pictures, which all get the line; how many lines
    and values are `unreadable`, with a few `examples`; `notes` on how it was read, and the `problem` for which it was
    not."""

    path: str
    lines: NonNegativeInt = 0
    unmatched: NonNegativeInt = 0
    repeated: NonNegativeInt = 0
    shared: NonNegativeInt = 0
    unreadable: NonNegativeInt = 0
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""


class BesideCounts(_Told):
    """What came with pictures: the texts and objects that were `read`, or `left` to the next run; those on record that
    are `unreadable`, wholly or in part; the values that are `unfit`, as their column is of another kind; a few
    `examples` of both, and `notes`."""

    read: NonNegativeInt = 0
    left: NonNegativeInt = 0
    unreadable: NonNegativeInt = 0
    unfit: NonNegativeInt = 0
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ColumnsReport(_Told):
    """In how many `rows` a value of a joined column changed; the columns that are new, that nobody gives any more and
    that were `dropped`, and for which there is `no_room`; the tables that were read, or should have been; what of
    `beside` pictures was; whether
    all was `left` to the next run, for want of time; and the `problem` for which nothing was joined."""

    rows: NonNegativeInt = 0
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    no_room: tuple[str, ...] = ()
    tables: tuple[TableReport, ...] = ()
    beside: BesideCounts = BesideCounts()
    left: bool = False
    problem: str = ""


NOTHING_JOINED = ColumnsReport()
"""Of a run that joined nothing: nothing has changed."""
