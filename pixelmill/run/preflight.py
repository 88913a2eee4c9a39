"""What a run needs, looked at before anything is started.

A wrong name is told at once: what stores need (NumPy, HDF5) is loaded when the sources are known to be there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pixelmill.devices import resolve_device
from pixelmill.errors import DeviceUnavailable, PixelmillError, SourceError, StoreError, WeightsError
from pixelmill.models.base import ModelSpec
from pixelmill.run.job import Job
from pixelmill.run.scan import known_below, source_in_time
from pixelmill.sources.address import is_address
from pixelmill.watch.hangs import Unanswered
from pixelmill.watch.saying import saying


def check(job: Job, *, writes: bool = True) -> None:
    """Refuse what cannot be done: a source or a device that is not there, a store that is damaged, too new or, where
    the run `writes`, not this user's to write, and weights that no network will bring.

    Raises the SourceError, DeviceUnavailable, StoreError or WeightsError that the run would end with. A store that does
    not exist is not made; one that is not to be written to is only read.
    """
    check_devices(job)
    check_sources(job)
    _check_store(job, writes=writes)
    if writes:
        check_weights(job)


def check_weights(job: Job) -> None:
    """Raises WeightsError if no model has its file, on this machine or without a network: where one has, the run does
    without the others."""
    cache = job.cache.open()

    def require(spec: ModelSpec) -> None:
        if job.cache.offline or spec.weights.url.startswith("file:"):
            cache.fetch(spec.weights)

    _for_one(job, require, WeightsError)


def check_sources(job: Job) -> None:
    """Raises SourceError for one that is not there, as the run does. Addresses are asked by the run itself, once."""
    missing: dict[str, SourceError] = {}
    for source in job.sources:
        if not is_address(source.removeprefix("@")):
            try:
                source_in_time(source, job.deadline)
            except SourceError as error:
                missing[source] = error
            except Unanswered:  # the run does without it, and tells of it
                pass
    for source, why in missing.items():
        if len(missing) == len(job.sources) or not _is_known(job, source):
            raise why


def _is_known(job: Job, source: str) -> bool:
    """Whether the store has images from a source that is not there."""
    from pixelmill.store.readonly import ledger_of

    try:
        with ledger_of(job.store) as ledger:
            return ledger is not None and known_below(ledger, source)[1] > 0
    except StoreError:
        return False


@saying("Looking at the devices")
def check_devices(job: Job) -> None:
    """Raises DeviceUnavailable if this process lacks the devices of all models; torch is left alone where none is asked
    for."""

    def require(spec: ModelSpec) -> None:
        device = job.devices.get(spec.name, job.device)
        if device not in ("auto", "cpu"):
            resolve_device(device)

    if job.fan_out == "inline" and job.missing_device == "fail":
        _for_one(job, require, DeviceUnavailable)


def _for_one(job: Job, require: Callable[[ModelSpec], None], error: type[PixelmillError]) -> None:
    """Require something of one model at least. Raises the first one's error if that fails for all."""
    failed = []
    for spec in job.specs:
        try:
            require(spec)
        except error as missing:
            failed.append(missing)
    if failed and len(failed) == len(job.specs):
        raise failed[0]


def _check_store(job: Job, *, writes: bool) -> None:
    from pixelmill.run.preview import store_as_it_is
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.master import MASTER, home_of

    if not writes:
        store_as_it_is(job)
    elif (home_of(job.store) / MASTER).exists():
        StoreWriter(job.store).close()
    else:
        _check_room(job.store)


def _check_room(folder: Path) -> None:
    """Raises StoreError where no folder can be made."""
    above = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not above.is_dir():
        raise StoreError(f"Expected a folder for the store at {folder}. {above} is no folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StoreError(f"Expected a folder for the store at {folder}. This user must not write to {above}.")
