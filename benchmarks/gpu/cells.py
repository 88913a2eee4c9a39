"""Tables and their cells: each cell is measured by a call of its own, each part of them in a process of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

CONTEXT = get_context("fork")
"""This process has imported PyTorch, and leaves the GPU alone: those that it forks start at once, and can use it."""


class Key(NamedTuple):
    """A cell of a table."""

    table: str
    row: str
    column: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value; its share is that of the least of the figures `of`, where they were measured."""

    value: float
    of: tuple[Key, ...] = ()
    note: str = ""


Cells = Mapping[Key, Callable[[], Figure]]
Outcomes = dict[Key, Figure | str]
"""Figures, or why there is none."""


class NotMeasured(Exception):
    """A cell that stays empty, and why."""


NO_CUDA = "no CUDA"
_ENDING = 10.0
"""Seconds that a process may take to end; one that the kernel does not let go is left alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all parts measure with. `models` are the names of columns, `sizes` pixels by title; pictures lie in a folder
    for each title. `seconds` are those of one measurement."""

    device: str
    folder: Path
    models: tuple[str, ...]
    sizes: Mapping[str, tuple[int, int]]
    batches: tuple[int, ...]
    seconds: float
    threads: int

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def half(self) -> str:
        """The half precision to compare in, where one is enough."""
        return "float16" if self.is_cuda else "bfloat16"

    def photos(self, title: str) -> Path:
        return self.folder / title.replace(" ", "-")

    def need_cuda(self) -> None:
        if not self.is_cuda:
            raise NotMeasured(NO_CUDA)


Part = Callable[[Setting], Cells]


def measured(part: Part, setting: Setting, seconds: float) -> Outcomes:
    """Every cell of a part, in its order, within so many seconds. A cell that takes its process down costs itself."""
    outcomes: Outcomes = {}
    keys, end = list(part(setting)), time.monotonic() + seconds
    while left := [key for key in keys if key not in outcomes]:
        outcomes.update(_in_process(part, setting, left, end))
    return outcomes


def _in_process(part: Part, setting: Setting, keys: Sequence[Key], end: float) -> Outcomes:
    """Of these cells in this order, until all are there, the time is over, or the process ends: that is its cell's."""
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_work, args=(part, setting, keys, there))
    process.start()
    there.close()
    outcomes, last = Outcomes(), None
    try:
        for key in keys:
            if not here.poll(max(0.0, end - time.monotonic())):
                return dict.fromkeys(keys, "no time left") | outcomes
            outcomes[key] = here.recv()
    except EOFError:
        last = key
    finally:
        _end(process)
    return outcomes | ({last: f"its process ended with {process.exitcode}"} if last else {})


def _end(process: ForkProcess) -> None:
    """It and what it has started, which is of its group."""
    assert process.pid
    with suppress(ProcessLookupError):  # it has none yet, or never had
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(_ENDING)


def _work(part: Part, setting: Setting, keys: Sequence[Key], there: Connection) -> None:
    os.setsid()
    cells = part(setting)
    for key in keys:
        there.send(_outcome(cells[key]))


def _outcome(cell: Callable[[], Figure]) -> Figure | str:
    try:
        return cell()
    except NotMeasured as why:
        return str(why)
    except Exception as error:  # whatever it is, the others are measured
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
