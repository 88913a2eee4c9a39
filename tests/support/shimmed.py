"""Runs of `nights.work` in a process that was started with the shim: recorded, killed at a call, or refused a call.

`python -m tests.support.shimmed JOB` with a job in JSON; each run is a fork of one warm process.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pixelmill.errors import PixelmillError
from tests.support.acknowledged import (
    Acknowledged,
    check,
    check_next_run,
    check_nothing_half_written,
    check_nothing_is_kept_for_ever,
    work,
)
from tests.support.shim import Call, answer_of, loaded, read_log

MODULE = "tests.support.shimmed"

STORE = "home/store"
SHARES = min(os.cpu_count() or 1, 4)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A whole run: its calls, and what was acknowledged after how many of them."""

    calls: list[Call]
    acknowledged: list[tuple[int, Acknowledged]]

    def done(self, calls: int) -> Acknowledged:
        """What was acknowledged when `calls` calls were made."""
        return max((done for at, done in self.acknowledged if at <= calls), key=asdict_key, default=Acknowledged())


@dataclass(frozen=True, slots=True)
class Refused:
    """A run whose call `number` failed: what it raised, if it did, and what was wrong afterwards, if anything."""

    number: int
    raised: str
    message: str
    ours: bool
    problem: str


def asdict_key(done: Acknowledged) -> tuple[int, int, int]:
    return done.rows, done.settled, done.joined


def record(shim: Path, root: Path, commits: int) -> Recorded:
    """Run `commits` commits below `root`, which is not there yet, and log every call."""
    log = root.with_suffix(".log")
    acknowledged = answer_of(MODULE, shim, {"do": "record", "root": str(root), "commits": commits, "log": str(log)})
    return Recorded(read_log(log, root), [(at, Acknowledged(**done)) for at, done in acknowledged])


def kill_at(shim: Path, roots: dict[int, Path], commits: int) -> list[Acknowledged]:
    """Kill a run at each of the calls named, each below a root of its own; what each had acknowledged."""
    job = {"do": "kill", "roots": {str(k): str(root) for k, root in roots.items()}, "commits": commits}
    return [Acknowledged(**done) for done in answer_of(MODULE, shim, job)]


def refuse_at(
    shim: Path, root: Path, commits: int, numbers: Sequence[int], error: int, *, for_good: bool = False,
    untidy: Sequence[int] = (),
) -> list[Refused]:  # fmt: skip
    """Let a call fail with `error`, and all after it too if `for_good`; then look at the store and run again.

    A call among `untidy` may leave something half-written behind until the next compaction: it was to remove it.
    """
    job = {"do": "refuse", "commits": commits, "error": error, "for_good": for_good, "untidy": list(untidy)}

    def share_of(share: int) -> list[Refused]:
        told = answer_of(MODULE, shim, job | {"root": f"{root}-{share}", "numbers": list(numbers[share::SHARES])})
        return [Refused(**one) for one in told]

    with ThreadPoolExecutor(SHARES) as pool:
        return sorted((one for told in pool.map(share_of, range(SHARES)) for one in told), key=lambda one: one.number)


def _record(shim: ctypes.CDLL, job: dict[str, Any]) -> list[tuple[int, dict[str, int]]]:
    acknowledged: list[tuple[int, dict[str, int]]] = []
    with Path(job["log"]).open("wb") as log:
        shim.shim_log(log.fileno())
        _watch(shim, Path(job["root"]))
        work(_store(job["root"]), job["commits"], lambda done: acknowledged.append((shim.shim_calls(), asdict(done))))
    return acknowledged


def _kill(shim: ctypes.CDLL, job: dict[str, Any]) -> list[dict[str, int]]:
    def die(number: int, root: Path, tell: Callable[[Any], None]) -> None:
        _watch(shim, root)
        shim.shim_arm(number, 0, 0)
        work(_store(root), job["commits"], lambda done: tell(asdict(done)))

    return [
        (_forked(lambda tell, k=k, root=root: die(int(k), Path(root), tell)) or [asdict(Acknowledged())])[-1]
        for k, root in job["roots"].items()
    ]


def _refuse(shim: ctypes.CDLL, job: dict[str, Any]) -> list[Any]:
    def survive(number: int, tell: Callable[[Any], None]) -> None:
        root = Path(job["root"])
        shutil.rmtree(root, ignore_errors=True)
        tell(asdict(_refused(shim, root, job, number)))

    return [_forked(lambda tell, n=n: survive(n, tell))[-1] for n in job["numbers"]]


def _refused(shim: ctypes.CDLL, root: Path, job: dict[str, Any], number: int) -> Refused:
    acknowledged, raised = [Acknowledged()], None
    _watch(shim, root)
    shim.shim_arm(number, job["error"], job["for_good"])
    try:
        work(_store(root), job["commits"], acknowledged.append)
    except Exception as error:
        raised = error
    shim.shim_watch(b"")
    problem = ""
    try:
        tidy = not job["for_good"] and number not in job["untidy"]
        _check_after(_store(root), job["commits"], acknowledged[-1], tidy=tidy)
    except Exception:
        problem = traceback.format_exc()
    name = type(raised).__name__ if raised else ""
    return Refused(number, name, str(raised or ""), isinstance(raised, PixelmillError), problem)


def _check_after(store: Path, commits: int, done: Acknowledged, *, tidy: bool) -> None:
    check(store, done)
    if tidy and store.exists():
        check_nothing_half_written(store)
    check_next_run(store, commits, done)
    check_nothing_is_kept_for_ever(store)


def _watch(shim: ctypes.CDLL, root: Path) -> None:
    root.mkdir(parents=True)
    shim.shim_watch(os.fsencode(root))


def _store(root: str | Path) -> Path:
    return Path(root) / STORE


def _forked(act: Callable[[Callable[[Any], None]], None]) -> list[Any]:
    """What `act`, in a process of its own, tells."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act(lambda told: os.write(writer, json.dumps(told).encode() + b"\n") and None)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        told = [json.loads(line) for line in answers]
    os.waitpid(pid, 0)
    return told


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    print(json.dumps({"record": _record, "kill": _kill, "refuse": _refuse}[chosen["do"]](loaded(), chosen)))
