"""A report as people read it in the morning: a headline, a few sentences, tables; for the terminal and the browser."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from pixelmill.formatting import human_bytes, in_words, moment, number_of, percent
from pixelmill.report import columns as joined
from pixelmill.report import deliveries as delivered
from pixelmill.report import heads as filled
from pixelmill.report import links
from pixelmill.report.budget import budget
from pixelmill.report.history import night
from pixelmill.report.model import DryRunReport, ImageCounts, Night, RunReport
from pixelmill.report.precisions import in_words as precisions
from pixelmill.report.section import Row, Section, trimmed
from pixelmill.run.results import Ended, ShardReport, combined
from pixelmill.store.rows import KINDS

ENDED: Final[dict[Ended, str]] = {"done": "", "failed": "Failed", "cancelled": "Cancelled", "cut off": "Cut off"}
Report = RunReport | DryRunReport


def headline(report: Report) -> str:
    """The run in one line."""
    seen = report.images.seen
    if isinstance(report, DryRunReport):
        most = max((model.pending for model in report.models.values()), default=0)
        facts = report.facts.pending if report.facts else 0
        if facts > most:
            return f"A run would embed {most:,} of {number_of(seen, 'image')}, and make the facts of {facts:,}."
        return f"A run would embed {most:,} of {number_of(seen, 'image')}." if most else "Nothing to embed."
    if report.attention and not (seen or report.models or report.sources):
        return report.attention[0]  # it looked at nothing
    this, told = night(report), _kinds(report.images)
    embedded, pending = this.embedded, this.pending
    how, columns = ENDED[report.ended], list(_of_columns(report, embedded, pending))
    if not (told or embedded or pending or how or columns):
        return f"Nothing new. {_all_embedded(report)}"
    made = [f"{number_of(embedded, 'vector')} made in {in_words(report.seconds)}"] if embedded else []
    left = [f"{number_of(pending, 'vector')} pending", *columns] if pending else columns
    found = ", ".join(told) or ("" if how else "No image changed")
    return ". ".join(filter(None, [how, found, ", ".join([*made, *left])])) + "."


def _of_columns(report: RunReport, embedded: int, pending: int) -> Iterator[str]:
    """What became of columns, where that does not go without saying: they come with vectors."""
    if report.facts and report.facts.made and not embedded:
        yield f"facts of {number_of(report.facts.made, 'image')} made in {in_words(report.seconds)}"
    if report.facts and report.facts.pending > pending:
        yield f"facts of {number_of(report.facts.pending, 'image')} pending"
    if (values := sum(head.rows for head in report.heads)) and not embedded:
        yield f"{number_of(values, 'row')} filled by heads"
    if report.columns.rows and not embedded:
        yield f"{number_of(report.columns.rows, 'row')} with other values in columns"


def in_short(report: RunReport) -> str:
    """A run as a list of runs shows it: `146 new, 140 embedded, 6 quarantined.` Of one that looked at nothing, ''."""
    if not (report.images.seen or report.models):
        return ""
    made = [model.embedded for model in report.models.values() if model.embedded]
    refused, pending = sum(group.new for group in report.failures), night(report).pending
    counts = {kind: getattr(report.images, kind) for kind in KINDS}
    counts |= {"embedded" if len(made) == 1 else "vectors embedded": sum(made), "quarantined": refused}
    told = [f"{count:,} {what}" for what, count in {**counts, "pending": pending}.items() if count]
    return f"{', '.join(told)}." if told else f"Nothing new. {_all_embedded(report)}"


def share_in_short(did: Sequence[ShardReport]) -> str:
    """What one worker did, shard by shard, as a list of runs shows it: `96 read, 94 embedded with a, 2 quarantined.`"""
    total = combined(did)
    told = [f"{total.read:,} read"] if total.read else []
    told += [f"{images:,} embedded with {model}" for model, images in total.embedded.items() if images]
    told += [f"{total.refused:,} quarantined"] if total.refused else []
    told += [f"{len(total.unread):,} could not be read"] if total.unread else []
    return f"{', '.join(told) or 'Nothing was left to do'}."


def summary(report: RunReport) -> str:
    """When the run was, and the counts of the images seen."""
    images = report.images
    new, known = sum(group.new for group in report.failures), sum(group.known for group in report.failures)
    quarantined = f", {images.quarantined:,} of them in quarantine" if images.quarantined else ""
    fresh = " (all new)" if new and not known else f" ({new:,} new)" if new else ""
    run = f"Run of {moment(report.started)}, {in_words(report.seconds)}"
    return f"{run}: {number_of(images.seen, 'image')} seen{quarantined}{fresh if quarantined else ''}."


def standing_out(report: RunReport) -> list[str]:
    """What is said of a run before its tables, but for what its headline says: what somebody has to look at first."""
    lines = dict.fromkeys((report.error, *report.attention, *report.notable))
    return [line for line in lines if line and line != headline(report)]


def too_many_refused(report: RunReport, most: float) -> str:
    """Why a run that did all it could is none to be content with: more than a share of `most` was not embedded."""
    return (
        f"All is done and stored, but {percent(report.failure_rate)} of the images were refused or could not be read, "
        f"and max_failure_rate is {percent(most)}. `pixelmill quarantine {report.store}` says which were refused, and "
        f"`pixelmill report {report.store}` which wait to be read, and why."
    )


def sections(report: Report) -> Iterator[Section]:
    """The tables that have something to tell."""
    if isinstance(report, DryRunReport):
        if any(model.pending for model in report.models.values()):
            yield _preview(report)
        return
    yield models(report)
    if report.steps:
        yield _time(report)
    if len(report.workers) > 1:
        yield _workers(report)
    if report.folders:
        yield _folders(report)
    if joined.is_worth_telling(report.columns):
        yield _columns(report)
    if heads := filled.rows(report.heads):
        words = (*filled.COLUMNS[:3], filled.COLUMNS[-1])
        yield trimmed("Heads", filled.COLUMNS, heads, words, filled.note(report.heads))
    if report.deliveries:
        yield _deliveries(report)
    if report.failures:
        yield _failures(report)
    if report.self_check:
        yield _self_check(report)
    if report.nights:
        yield _nights(report)


def models(report: RunReport) -> Section:
    """What each model did, and how much of the collection its matrix covers."""
    rows: list[Row] = []
    coverage = dict(report.coverage)
    for name, model in report.models.items():
        counts = (f"{model.embedded:,}", f"{model.pending:,}", _count(model.quarantined))
        speed = f"{model.images_per_second:,}" if model.embedded else ""
        covered = percent(coverage.pop(model.dataset, 0.0))
        rows.append(((name,), *counts, covered, speed, model.device, model.precision))
    others = ", ".join(f"{dataset} covers {percent(share)}" for dataset, share in coverage.items())
    columns = ("model", "embedded", "pending", "quarantined", "coverage", "images/s", "device", "precision")
    rest = others and f"Also in the store: {others}."
    note = " ".join(filter(None, [report.advice, precisions(report.models), _twice(report), rest]))
    return trimmed("Models", columns, rows, ("model", "device", "precision"), note)


def _twice(report: RunReport) -> str:
    """A word on work that was done for nothing."""
    twice = f"Embedded twice, and stored once: {number_of(report.embedded_twice, 'vector')} that no worker knew of."
    return twice if report.embedded_twice else ""


def _preview(report: DryRunReport) -> Section:
    rows: list[Row] = [((name,), f"{model.pending:,}") for name, model in report.models.items()]
    return Section("Models", ("model", "to embed"), rows, ("model",), f"{report.plan}{_room(report)}")


def _room(report: DryRunReport) -> str:
    if report.bytes_free is None:
        return ""
    needed, free = human_bytes(report.bytes_needed), human_bytes(report.bytes_free)
    return f" It takes about {needed} of the {free} that are free on the store's disk."


def _workers(report: RunReport) -> Section:
    rows: list[Row] = []
    for name, did in report.workers.items():
        speed = f"{did.images / did.seconds:,.1f}" if did.seconds else ""
        devices = dict.fromkeys(model.device for model in did.models.values())
        work = (", ".join(devices), f"{did.images:,}", in_words(did.seconds), speed)
        rows.append(((name,), *work, tuple(did.models)))
    columns = ("worker", "device", "images", "time", "images/s", "models")
    return Section("Workers", columns, rows, ("worker", "device", "models"), report.plan)


def _folders(report: RunReport) -> Section:
    kinds = [kind for kind in KINDS if getattr(report.images, kind)]
    rows: list[Row] = []
    for count in report.folders:
        folder = "all others" if count.folder is None else (count.folder,)
        rows.append((folder, *(_count(getattr(count, kind)) for kind in kinds)))
    addresses = tuple("" if count.folder is None else links.folder(count.folder) for count in report.folders)
    return Section("Folders", ("folder", *kinds), rows, ("folder",), links=addresses, linked="folder")


def _columns(report: RunReport) -> Section:
    rows, note = joined.rows(report.columns), joined.note(report.columns)
    return trimmed("Columns", ("table", *joined.COUNTS), rows, ("table",), note)


def _deliveries(report: RunReport) -> Section:
    names = delivered.COLUMNS
    return trimmed("Deliveries", names, delivered.rows(report.deliveries), (*names[:2], names[-1]))


def _self_check(report: RunReport) -> Section:
    """What the same few images came to, embedded again, beside the vectors that are stored: tonight and before."""
    rows: list[Row] = []
    for name, check in report.self_check.items():
        before = ", ".join(f"{cosine:.6f}" for cosine in check.before[:3])
        rows.append(((name,), f"{check.compared:,}", f"{check.least_cosine:.6f}", before))
    columns = ("model", "images", "least cosine", "the runs before")
    return trimmed("Self-check", columns, rows, ("model",), "Stored vectors beside the same images embedded again.")


def _failures(report: RunReport) -> Section:
    rows: list[Row] = []
    addresses = tuple(links.refused(group.reason) for group in report.failures if group.new)
    for group in (group for group in report.failures if group.new):
        reason = "other reasons" if group.reason is None else f"{group.stage}: {group.reason}"
        rows.append((_count(group.new), _count(group.known), reason, tuple(map(_short, group.examples))))
    known = sum(group.known for group in report.failures)
    earlier = f"{'' if rows else 'None is new; '}{known:,} known from earlier runs. " if known else ""
    note = f"{earlier}All of them: pixelmill quarantine {report.store}"
    table = trimmed("Failures", ("new", "known", "reason", "for example"), rows, ("reason", "for example"), note)
    return replace(table, links=addresses, linked="reason")


def _time(report: RunReport) -> Section:
    """Where it went, in a unit in which the rows add up."""
    unit, word = (60, "min") if report.seconds >= 600 else (1, "s")
    rows: list[Row] = [
        (what, f"{seconds / unit:,.1f} {word}", f"{seconds / report.seconds:.0%}", _bar(seconds / report.seconds))
        for what, seconds in budget(report).items()
    ]
    rows.append(("all", f"{report.seconds / unit:,.1f} {word}", "100%", ""))
    return Section("Where the time went", ("what", "time", "share", " "), rows, ("what", " "))


def _bar(share: float) -> str:
    """Twenty characters are all."""
    eighths = round(share * 20 * 8)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _nights(report: RunReport) -> Section:
    this = ("this one", *_night(night(report))[1:])
    rows: list[Row] = [this, *map(_night, report.nights)]
    columns = ("started", "new", "embedded", "quarantined", "pending", "time", "images/s", "ended")
    return trimmed("Last runs", columns, rows, ("started", "ended"))


def _night(run: Night) -> tuple[str, ...]:
    counts = map(_count, (run.new, run.embedded, run.quarantined, run.pending))
    ended = ENDED[run.ended].lower()
    return (moment(run.started), *counts, in_words(run.seconds), _count(run.images_per_second), ended)


def _all_embedded(report: RunReport) -> str:
    images, models = report.images, report.models
    good = images.seen - images.quarantined
    which = "All" if good == images.seen else f"{good:,} of"
    what = number_of(images.seen, "image")
    verb = "is" if images.seen == 1 else "are"
    by = next(iter(models)) if len(models) == 1 else f"{len(models)} models"
    rest = "" if good == images.seen else f"; {images.quarantined:,} in quarantine"
    return f"{which} {what} {verb} embedded with {by}{rest}." if images.seen else "No image was found."


def _kinds(images: ImageCounts) -> list[str]:
    """`312 new images`, `3 changed`: what happened, the first with its noun."""
    counts = {kind: count for kind in KINDS if (count := getattr(images, kind))}
    told = [f"{count:,} {kind}" for kind, count in counts.items()]
    if told:
        told[0] += " image" if next(iter(counts.values())) == 1 else " images"
    return told


def _count(number: float) -> str:
    return f"{number:,}" if number else ""


def _short(path: str) -> str:
    """A path's last two parts."""
    folder, name = os.path.split(path)
    return f"…/{os.path.basename(folder)}/{name}"  # noqa: PTH119 - as the file system spells it
