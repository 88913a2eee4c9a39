"""Models that cannot be had, for want of weights, of a device, or because they do not load: a run does without them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from pixelmill.errors import DeviceUnavailable, PixelmillError, WeightsError, reason_of
from pixelmill.models.base import ModelSpec
from pixelmill.run.job import Job
from pixelmill.run.results import ShardReport
from pixelmill.run.schedule import able_workers

log = logging.getLogger(__name__)

_TO_BRING: Final = (
    " `pixelmill pull {model}` fetches weights; `pixelmill weights bundle` takes them to where they cannot be fetched."
)

Reasons = dict[str, str]
"""By model, why it cannot be had."""


def without(job: Job, models: Collection[str]) -> Job:
    """The job without some of its models."""
    specs = tuple(spec for spec in job.specs if spec.name not in models)
    devices = {model: device for model, device in job.devices.items() if model not in models}
    return job.model_copy(update={"specs": specs, "devices": devices})


def left_out(job: Job, failed: Mapping[str, Exception]) -> Reasons:
    """Why a job is done without the models that have failed. Raises the first one's error where no other is left."""
    if failed and len(failed) == len(job.specs):
        raise next(iter(failed.values()))
    reasons = {model: why(model, error) for model, error in failed.items()}
    for model, reason in reasons.items():
        log.warning("%s is left out: %s", model, reason)
    return reasons


def why(model: str, error: Exception) -> str:
    """Why a model cannot be had, in a line that says what to do."""
    told = " ".join((str(error) if isinstance(error, PixelmillError) else reason_of(error)).split()).rstrip(".")
    told = told if isinstance(error, PixelmillError) else f"{type(error).__name__}: {told}"
    return f"{told}.{_TO_BRING.format(model=model) if isinstance(error, WeightsError) else ''}"


def for_no_device(job: Job, models: Collection[str]) -> dict[str, Exception]:
    """Of some models, those that the device of no Prefect worker holds, as far as memory is known."""
    failed: dict[str, Exception] = {}
    for spec in job.specs if job.fan_out == "workers" else ():
        if spec.name in models:
            try:
                able_workers(spec, job.workers)
            except DeviceUnavailable as error:
                failed[spec.name] = error
    return failed


def who_cannot_load(done: Iterable[ShardReport]) -> dict[str, Reasons]:
    """By model, which workers could not load it, and why."""
    whom: dict[str, Reasons] = {}
    for report in done:
        for model, reason in report.not_loaded.items():
            whom.setdefault(model, {})[report.worker] = reason
    return whom


def nobody_loads(job: Job, done: Sequence[ShardReport]) -> Reasons:
    """The models of a job that nobody can load who may embed with them, and why."""
    made = {model for report in done for model, images in report.embedded.items() if images}
    specs = {spec.name: spec for spec in job.specs}
    found = {}
    for model, whom in who_cannot_load(done).items():
        if model in specs and model not in made and not _others(job, specs[model]) - whom.keys():
            found[model] = next(iter(whom.values()))
    return found


def _others(job: Job, spec: ModelSpec) -> set[str]:
    """Who may embed with a model. Processes of a cluster are all alike."""
    if job.fan_out != "workers":
        return set()
    try:
        return {worker.name for worker in able_workers(spec, job.workers)}
    except DeviceUnavailable:
        return set()


def in_words(reasons: Reasons) -> str:
    """What a run says at its end that did without some models."""
    which = ", ".join(reasons)
    told = " ".join(f"{model}: {reason}" for model, reason in reasons.items())
    return f"All else is done and stored, but {which} could not be had, and embedded nothing. {told}"
