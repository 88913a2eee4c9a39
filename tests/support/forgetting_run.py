"""Rows of a store forgotten in a process that was started with the shim: recorded, or refused a call.

`python -m tests.support.forgetting_run JOB` with a job in JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixelmill.errors import PixelmillError
from pixelmill.forgetting.chosen import Which
from pixelmill.forgetting.forget import finish, forget
from pixelmill.store.commit import StoreWriter
from pixelmill.store.forgotten import on_record
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.forgettable import KEPT, ROWS, filled, of
from tests.support.shim import Call, answer_of, loaded, read_log
from tests.support.stores import Columns, read_own, read_plain, same_rows
from tests.support.traces import traces

MODULE = "tests.support.forgetting_run"

STORE = "store"
CONDITION = f"row IN ({', '.join(map(str, ROWS))})"


@dataclass(frozen=True, slots=True)
class Recorded:
    """All calls that filled a store and forgot some of its rows, of which the first `filled` are the filling."""

    calls: list[Call]
    filled: int


def record(shim: Path, root: Path) -> Recorded:
    """Fill a store below `root`, forget some rows, and log every call."""
    log = root.with_suffix(".log")
    number = answer_of(MODULE, shim, {"do": "record", "root": str(root), "log": str(log)})
    return Recorded(read_log(log, root), number)


def refuse(shim: Path, root: Path, error: int, every: int) -> tuple[int, list[str]]:
    """Let each `every`th call of forgetting fail with `error`, one in each copy of a store; how many were tried, and
    what was wrong afterwards."""
    tried, wrong = answer_of(MODULE, shim, {"do": "refuse", "root": str(root), "error": error, "every": every})
    return tried, wrong


def check(store: Path, before: Columns) -> None:
    """Nothing but the rows to be forgotten is lost, and these are there as they were, or not at all; whoever comes next
    brings it to its end, if it was begun, and nothing of them is left."""
    for columns in (read_plain(store), read_own(Store(store))):
        assert same_rows(columns, before, KEPT)
        erased = not same_rows(columns, before, ROWS.tolist())
        assert not erased or not any(known(columns))
    assert all(damage.is_sound for damage in verify(store))
    begun = bool(on_record(store).rows)
    assert begun or not erased or verify(store) == []
    with StoreWriter(store) as writer:
        assert writer.ledger.runs.notice() == ""
        finish(writer)
    if begun or erased:
        assert [trace for row in ROWS.tolist() for trace in traces(store, of(row))] == []
    assert verify(store) == []
    assert same_rows(read_plain(store), before, KEPT)


def known(columns: Columns) -> list[bool]:
    """Whether any of the rows has a path, or a vector, in each dataset that has such."""
    paths = [bool(path) for path in columns["images/path"][ROWS]]
    vectors = [values[ROWS] == values[ROWS] for name, values in columns.items() if name.startswith("vectors/")]
    return [*paths, *(bool(some.any()) for some in vectors)]


def _forget(root: Path) -> None:
    forget(root / STORE, Which(CONDITION), thumbnails=root / "thumbnails")


def _record(shim: ctypes.CDLL, job: dict[str, Any]) -> int:
    root = Path(job["root"])
    root.mkdir(parents=True)
    with Path(job["log"]).open("wb") as log:
        shim.shim_log(log.fileno())
        shim.shim_watch(os.fsencode(root))
        filled(root / STORE)
        number = int(shim.shim_calls())
        _forget(root)
    return number


def _refuse(shim: ctypes.CDLL, job: dict[str, Any]) -> tuple[int, list[str]]:
    root, template = Path(job["root"]), Path(job["root"] + "-template")
    template.mkdir(parents=True)
    filled(template / STORE)
    before, wrong, number = read_own(Store(template / STORE)), list[str](), 0
    while True:
        shutil.copytree(template, root)
        failed, problem = _refused(shim, root, job["error"], number, before)
        shutil.rmtree(root)
        if not failed:
            return number // job["every"], wrong
        wrong += [f"call {number}: {problem}"] if problem else []
        number += job["every"]


def _refused(shim: ctypes.CDLL, root: Path, error: int, number: int, before: Columns) -> tuple[bool, str]:
    """Whether a call of that number was refused, and what was wrong with that."""
    shim.shim_watch(os.fsencode(root))
    first = int(shim.shim_calls())
    shim.shim_arm(first + number, error, 0)
    raised: Exception | None = None
    try:
        _forget(root)
    except Exception as told:
        raised = told
    made = int(shim.shim_calls()) - first
    shim.shim_watch(b"")
    if made <= number:
        return False, ""
    try:
        assert raised is None or isinstance(raised, PixelmillError | OSError), repr(raised)
        check(root / STORE, before)
    except Exception:
        return True, traceback.format_exc()
    return True, ""


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    acts: dict[str, Callable[[ctypes.CDLL, dict[str, Any]], Any]] = {"record": _record, "refuse": _refuse}
    print(json.dumps(acts[chosen["do"]](loaded(), chosen)))
