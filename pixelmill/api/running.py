"""`pixelmill.run`: what is new or missing is embedded into a store, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack, overload

from pixelmill.api.names import AnyPath, Models, name_of, several, specs_of
from pixelmill.api.reports import DryRunReport, RunReport
from pixelmill.api.settings import make_job, settings_of
from pixelmill.choices import AskedPrecision, Background, Decode, Frames, VectorDtype
from pixelmill.proxies import check_proxies
from pixelmill.run.job import Job
from pixelmill.run.preflight import check

Sources = AnyPath | Sequence[AnyPath]


class Options(TypedDict, total=False):
    """The arguments of `run`, as the type checker takes them; `run` says what they are."""

    models: Models | None
    store: AnyPath | None
    device: str | None
    batch_size: int | None
    precision: AskedPrecision | None
    decode: Decode | None
    vector_dtype: VectorDtype | None
    threads: int | None
    deadline: str | None
    paranoid: bool | None
    facts: bool | None
    exif_orientation: bool | None
    background: Background | None
    frames: Frames | None
    config: AnyPath | None


@overload
def run(sources: Sources = ..., *, dry_run: Literal[False] = ..., **options: Unpack[Options]) -> RunReport: ...


@overload
def run(sources: Sources = ..., *, dry_run: Literal[True], **options: Unpack[Options]) -> DryRunReport: ...


@overload
def run(sources: Sources = ..., *, dry_run: bool, **options: Unpack[Options]) -> RunReport | DryRunReport: ...


def run(
    sources: Sources = (), *, models: Models | None = None, store: AnyPath | None = None, device: str | None = None,
    batch_size: int | None = None, precision: AskedPrecision | None = None, decode: Decode | None = None,
    vector_dtype: VectorDtype | None = None, threads: int | None = None, deadline: str | None = None,
    paranoid: bool | None = None, facts: bool | None = None, exif_orientation: bool | None = None,
    background: Background | None = None, frames: Frames | None = None, config: AnyPath | None = None,
    dry_run: bool = False,
) -> RunReport | DryRunReport:  # fmt: skip
    """Embed the images in `sources` that are new or missing with each of `models`, into the store in a folder.

    It is `pixelmill run` in this process: the same files, the same report, and a second run makes no model call. What
    is None is as in the settings, whose defaults these are:

    sources: Files, folders with all that is below, archives, patterns, addresses, lists as "@list.txt"; one or several.
    models: One or several, by name or as `own_model` gives them: "efficientnet_lite0".
    store: The folder of the store, made if need be: "pixelmill-store".
    device: "auto" (the first GPU, else the CPU), "cpu", "gpu", "cuda" or "cuda:N".
    batch_size: Images that a model takes at once, 32; halved when they do not fit the device.
    precision: "auto" (the fastest with cosine >= 0.999, measured once a matrix), "float32", "bfloat16", "float16".
    decode: "fast", or "reference" for upstream's own preprocessing; a matrix keeps what it was made with.
    vector_dtype: What vectors are stored as: "float32", or "float16".
    threads: How many read and decode: as many as there are processors, two at least.
    deadline: When to stop, as "06:00" or "90m"; the next run does the rest. What hangs is left, and never ends Python.
    paranoid: Also read and hash the files whose size and times are unchanged: False.
    facts: Make columns of what cameras wrote and pixels are like: in new stores, and in those that have them.
    exif_orientation, background: Turn pictures upright, True; what shows through transparent pixels, "white" or "none".
    frames: Of animations and documents of pages the "first" picture, or the "middle" one.
    config: A settings file. ./pixelmill.toml counts only if it is named here, or by PIXELMILL_CONFIG.
    dry_run: Only tell what would be done, and write nothing: a DryRunReport.

    Raises SettingsError for what does not fit, UnknownModel, SourceError, DeviceUnavailable, WeightsError, StoreError.
    A picture that cannot be embedded raises nothing: it is in quarantine, and counted in the report. Ctrl-C ends a run
    when its batch is done, stored and reported, a second one at once; the next run does the rest.
    """
    chosen = several(models)
    flags: dict[str, Any] = {
        "models": tuple(map(name_of, chosen)) or None, "store": store, "device": device, "batch_size": batch_size,
        "precision": precision, "decode": decode, "vector_dtype": vector_dtype, "threads": threads,
        "deadline": deadline, "paranoid": paranoid, "facts": facts, "fan_out": "inline",
    }  # fmt: skip
    images = {"exif_orientation": exif_orientation, "background": background, "frames": frames}
    several_sources = [sources] if isinstance(sources, str | bytes | os.PathLike) else sources
    named = [os.fsdecode(source) for source in several_sources]
    job = make_job(settings_of(config, run=flags, images=images), named, specs_of(chosen))
    check_proxies(os.environ)
    check(job, writes=not dry_run)
    return _previewed(job) if dry_run else _done(job)


def _previewed(job: Job) -> DryRunReport:
    from pixelmill.run.steps import preview

    return DryRunReport.of(preview(job))


def _done(job: Job) -> RunReport:
    from pixelmill.run.direct import here
    from pixelmill.run.steps import run as carry_out

    return RunReport.of(carry_out(job, here()))
