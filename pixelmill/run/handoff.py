"""What a run leaves in the store for its workers, and what they leave there for it.

    STORE/runs/<scan>/orders.json    the job, the matrices, the shards, who does which
    STORE/runs/<scan>/<worker>.jsonl what the worker did, one line a shard
    STORE/runs/<scan>/<worker>.alive written every few seconds by a worker that lives: how far it has come, what it does

Nothing of it is needed to read the store or to go on after a crash: what is embedded, the store knows.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from pixelmill.devices import resolve_device, usable_device
from pixelmill.errors import StoreError
from pixelmill.plan import Shard
from pixelmill.run.job import Job
from pixelmill.run.results import ShardReport
from pixelmill.store.durable import BLOCK, FULL, no_space, write_durably
from pixelmill.store.lock import unwritable
from pixelmill.store.manifest import Matrix
from pixelmill.watch.calls import doing, progress
from pixelmill.watch.clocks import Unchanged

log = logging.getLogger(__name__)

ORDERS = "orders.json"
ALIVE_SECONDS = 5.0
"""How often a worker says that it lives."""
_KEPT_SECONDS = 7 * 86_400
_REPORT = TypeAdapter(ShardReport)


class RunOrders(BaseModel):
    """A run's job, and who does what: `shares` holds, by worker and shard number, the models to embed with. `schedule`
    says it in words. `seconds_left` is how long before the deadline they were given: workers have other clocks."""

    model_config = ConfigDict(frozen=True)

    job: Job
    scan: int
    matrices: tuple[Matrix, ...]
    shards: tuple[Shard, ...]
    shares: dict[str, dict[int, tuple[str, ...]]]
    schedule: str = ""
    seconds_left: float | None = None

    def of(self, worker: str) -> Iterator[tuple[Shard, list[Matrix]]]:
        """The shards that a worker is to do, and the matrices to fill for each."""
        share = self.shares.get(worker, {})
        for shard in self.shards:
            if shard.number in share:
                yield shard, [m for m in self.matrices if m.provenance.model in share[shard.number]]

    def job_of(self, worker: str) -> tuple[Job, str]:
        """The job as that worker does it, on its own device, and a warning if that is another than was asked for.

        Raises DeviceUnavailable for a device that is not there, unless the settings let the CPU stand in.
        """
        named = {w.name: w.device for w in self.job.workers}
        asked = _visible(named.get(worker, self.job.device))
        fall_back = self.job.missing_device == "cpu"
        device, warning = usable_device(asked, fall_back=fall_back)
        asked_by_model = {} if worker in named else self.job.devices
        found = {model: usable_device(own, fall_back=fall_back) for model, own in asked_by_model.items()}
        told = " ".join(filter(None, dict.fromkeys([warning, *(words for _, words in found.values())])))
        update = {"device": device, "devices": {model: own for model, (own, _) in found.items()}}
        return self.job.model_copy(update=update), told and f"{worker}: {told}"

    def images(self, worker: str) -> dict[str, int]:
        """At most so many images a worker is to embed, by model."""
        images: dict[str, int] = {}
        for shard, matrices in self.of(worker):
            for matrix in matrices:
                model = matrix.provenance.model
                images[model] = images.get(model, 0) + shard.images
        return images


class RunFolder:
    """Where the orders and reports of one run lie."""

    def __init__(self, store: Path, scan: int) -> None:
        self.path = store / "runs" / str(scan)
        self.unchanged = Unchanged(most=3 * ALIVE_SECONDS)

    def give(self, orders: RunOrders) -> None:
        """Write the orders, for workers to read; those of an earlier round, and its signs of life, are replaced.

        Raises StoreError where that cannot be done.
        """
        left = None if orders.job.deadline is None else orders.job.deadline - time.time()
        bare = [matrix.model_copy(update={"extents": ()}) for matrix in orders.matrices]
        given = orders.model_copy(update={"matrices": tuple(bare), "seconds_left": left})
        text = _as_json(given.model_dump()).encode()
        _forget_old(self.path.parent)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for sign in self.path.glob("*.alive"):
                sign.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error, len(text)) from error
        write_durably(self.path / ORDERS, text)

    def orders(self) -> RunOrders:
        """The orders, for the store as this process sees it; the path of the process that gave them may be another.

        Raises StoreError when there are none, as the run is over or the store is another, and for those of another
        version or damaged ones.
        """
        try:
            orders = RunOrders.model_validate(json.loads((self.path / ORDERS).read_bytes()))
            job = {"store": self.path.parents[1], "deadline": self._deadline(orders)}
            return orders.model_copy(update={"job": orders.job.model_copy(update=job)})
        except (ValueError, RecursionError) as error:  # ValidationError, JSONDecodeError, UnicodeDecodeError
            raise StoreError(
                f"Expected the orders of a run in {self.path / ORDERS}. They cannot be understood: another version "
                "of Pixelmill wrote them, or they are damaged. Install the same version on every machine, and run "
                "`vectorize` again: what is embedded is stored."
            ) from error
        except OSError as error:
            raise StoreError(
                f"Expected the orders of a run in {self.path}. {error.strerror}: the run is over, or this machine "
                "does not see the same store. `vectorize` starts `embed`; run that."
            ) from error

    def _deadline(self, orders: RunOrders) -> float | None:
        """The deadline on the clock of this machine. How long ago the orders were given, the clock of the file system
        says, which is one for all machines."""
        if orders.seconds_left is None:
            return orders.job.deadline
        given = (self.path / ORDERS).stat().st_mtime
        with NamedTemporaryFile(dir=self.path, prefix="now-") as scratch:
            scratch.write(b"now")
            scratch.flush()
            os.fsync(scratch.fileno())
            now = os.fstat(scratch.fileno()).st_mtime
        return time.time() + orders.seconds_left - max(now - given, 0.0)

    def report(self, report: ShardReport) -> None:
        """Add to what a worker did. A shard that is stored does not fail for it: where it cannot be written, that is
        told to the log, and the run's counts are too low."""
        try:
            with (self.path / f"{report.worker}.jsonl").open("ab") as file:
                file.write(_as_json(_REPORT.dump_python(report)).encode() + b"\n")
        except OSError as error:
            log.warning("what %s did is stored, but cannot be reported in %s: %s", report.worker, self.path, error)

    def reports(self) -> list[ShardReport]:
        """What all workers did so far. A line that cannot be read stands for nothing but a warning; one that a killed
        worker left unfinished at the end is left out."""
        return [_report_of(file.stem, line) for file in sorted(self.path.glob("*.jsonl")) for line in _lines(file)]

    def seconds_since_alive(self, worker: str) -> float | None:
        """How long this process has seen nothing new of a worker; None if it never said that it lives.

        Only that the sign changes counts, not when it was made: the clocks of two machines may differ.
        """
        try:
            sign = (self.path / f"{worker}.alive").stat().st_mtime
        except OSError:
            return None
        return self.unchanged.seconds(f"sign of {worker}", sign)

    def seconds_since_progress(self, worker: str) -> float:
        """How long this process has not seen the work of a worker go forward; a sign of life alone is none of it."""
        return self.unchanged.seconds(f"progress of {worker}", self._sign_of(worker).partition("\n")[0])

    def doing(self, worker: str) -> str:
        """What a worker said last that it does."""
        return self._sign_of(worker).partition("\n")[2]

    def workers(self) -> list[str]:
        """Who has shown a sign of life."""
        return sorted(sign.name.removesuffix(".alive") for sign in self.path.glob("*.alive"))

    def _sign_of(self, worker: str) -> str:
        try:
            return (self.path / f"{worker}.alive").read_text(errors="replace")
        except OSError:
            return ""

    @contextmanager
    def alive(self, worker: str) -> Iterator[None]:
        """Say that `worker` lives, and how far its work has gone, every few seconds, while the block runs."""
        over = threading.Event()
        sign, scratch = self.path / f"{worker}.alive", self.path / f"{worker}.sign"

        def tell() -> None:
            scratch.write_text(f"{progress()}\n{doing()}", errors="replace")
            scratch.replace(sign)

        def beat() -> None:
            while not over.wait(ALIVE_SECONDS):
                with suppress(OSError):  # a network file system may fail for a moment
                    tell()

        try:
            tell()
        except OSError as error:
            raise _unwritable(self.path, error, BLOCK) from error
        thread = threading.Thread(target=beat, name="alive", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(ALIVE_SECONDS)

    def clear(self) -> None:
        """Throw it all away, at the end of the run, under another name: who was lost may write to it still."""
        over = self.path.with_name(f"{self.path.name}.over")
        with suppress(OSError):
            self.path.rename(over)
        shutil.rmtree(over, ignore_errors=True)


def whole(job: Job, scan: int, matrices: Sequence[Matrix], shards: Sequence[Shard], worker: str) -> RunOrders:
    """Orders that give all to one worker."""
    models = tuple(matrix.provenance.model for matrix in matrices)
    shares = {worker: {shard.number: models for shard in shards}}
    return RunOrders(job=job, scan=scan, matrices=tuple(matrices), shards=tuple(shards), shares=shares)


def _as_json(value: Any) -> str:
    """In ASCII. Bytes of names that are not UTF-8 become escapes of lone surrogates, which pydantic itself refuses."""
    return json.dumps(value, default=os.fspath)


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        log.warning("%s cannot be read: %s", file, error)
        return [b""]


def _report_of(worker: str, line: bytes) -> ShardReport:
    try:
        report = _REPORT.validate_python(json.loads(line))
        if report.threads < 1 or not report.devices.keys() >= report.embedded.keys():
            raise ValueError(f"no worker reports {report}")
        return report
    except (ValueError, RecursionError):
        told = (
            f"{worker}: a report of a shard cannot be read. What was embedded is stored; the counts here are too low."
        )
        return ShardReport(worker=worker, warnings=(told,))


def _unwritable(folder: Path, error: OSError, needed: int) -> StoreError:
    return no_space(folder / ORDERS, needed) if error.errno in FULL else unwritable(folder.parents[1], error)


def _visible(device: str) -> str:
    """`cuda:N` as this process must name it: the only GPU that it may see, if it is there, is its first."""
    if not device.startswith("cuda:") or os.environ.get("CUDA_VISIBLE_DEVICES") != device.removeprefix("cuda:"):
        return device
    return "cuda:0" if resolve_device("auto") == "cuda:0" else device


def _forget_old(folder: Path) -> None:
    """Runs that were killed leave theirs; after a week nobody wants them."""
    with suppress(OSError):  # another run may be at it
        for run in folder.iterdir():
            if time.time() - run.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(run, ignore_errors=True)
