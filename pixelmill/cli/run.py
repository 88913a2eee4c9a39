"""`pixelmill run`: in this process, or as the flow `vectorize` where Prefect has a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from pixelmill.choices import AskedPrecision, Decode
from pixelmill.cli import common, completers
from pixelmill.cli.by_prefect import check_flags, goes_by_prefect, load_quietly
from pixelmill.cli.help import GroupedCommand
from pixelmill.cli.main import DONE, FAILED, TOO_MANY_REFUSED
from pixelmill.errors import Unfinished
from pixelmill.formatting import number_of, printable
from pixelmill.proxies import check_proxies

if TYPE_CHECKING:
    from pixelmill.report.model import DryRunReport, RunReport
    from pixelmill.run.job import Job


_GROUPS = {
    "What is made": ("models", "store", "precision", "decode", "facts"),
    "How": ("device", "batch_size", "deadline", "paranoid", "prefect", "direct"),
    "Output": ("dry_run", "as_json"),
}


@click.command(cls=GroupedCommand, groups=_GROUPS, short_help="Embed what is new or missing.")
@click.argument("sources", nargs=-1, metavar="[SOURCE…]", shell_complete=completers.file)
@click.option(
    "--models",
    metavar="A,B",
    shell_complete=completers.any_model,
    help="Models, in the order of ensembles; see `pixelmill models`.",
)
@click.option(
    "--store", type=common.StorePath(path_type=str), metavar="DIR", help="Folder of the store; made if need be."
)
@click.option("--device", metavar="auto|cpu|gpu|cuda|cuda:N", help="Where the models run.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images a model takes at once.")
@click.option(
    "--precision", type=click.Choice(get_args(AskedPrecision)), help="auto: the fastest with cosine >= 0.999, measured."
)
@click.option("--decode", type=click.Choice(get_args(Decode)), help="reference: upstream's own preprocessing.")
@click.option("--deadline", metavar="06:00|90m", help="Stop then; the next run does the rest.")
@click.option("--paranoid", is_flag=True, default=None, help="Also hash what looks unchanged.")
@click.option(
    "--facts/--no-facts",
    default=None,
    help="Columns of what cameras wrote and pixels are like. By default in new stores, and where there are some.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--prefect", is_flag=True, help="As a flow of Prefect: by default where its settings name a server.")
@click.option("--direct", is_flag=True, help="In this process alone: by default where they name none.")
@common.as_json
@common.config_file
def run(
    sources: tuple[str, ...],
    models: str | None,
    as_json: bool,
    config: Path | None,
    dry_run: bool,
    prefect: bool,
    direct: bool,
    **flags: Any,
) -> int:
    """Embed the images in each SOURCE (a file, a folder with all below it, a list of paths or addresses as @list.txt,
    an address such as s3://bucket/folder, an archive, or a pattern). Without one: in the `sources` of the settings.

    Only what is new or missing is embedded: a second run makes no model call.
    """
    from pixelmill.malloc import one_arena

    one_arena()  # before NumPy is loaded, which starts threads
    from pixelmill.run.preflight import check
    from settings import load_settings
    from settings.job import make_job

    check_flags(prefect=prefect, direct=direct)
    names = tuple(name.strip() for name in models.split(",") if name.strip()) if models is not None else None
    job = make_job(load_settings(config, {"run": {"models": names, **flags}}), sources)
    check(job, writes=not dry_run)
    # What carries a run out takes half a second to load: a typo has been told by now.
    from pixelmill.report.model import RunReport
    from pixelmill.run.direct import run_here
    from pixelmill.run.steps import preview

    common.warn_on_stderr()
    check_proxies(os.environ)
    report: RunReport | DryRunReport
    try:
        if dry_run:
            report = preview(job)
        elif goes_by_prefect(job, prefect=prefect, direct=direct):
            report = _by_prefect(job, list(sources), models=names, config=config, **flags)
        else:
            report = run_here(job)
    except Unfinished as unfinished:
        if isinstance(unfinished.report, RunReport):
            _print(unfinished.report, as_json=as_json)
        raise
    _print(report, as_json=as_json)
    return _judged(report, job)


def _print(report: RunReport | DryRunReport, *, as_json: bool) -> None:
    from pixelmill.report.model import RunReport

    if as_json:
        common.print_json(report.as_json())
    elif isinstance(report, RunReport):
        _show(report)
    else:
        _show_preview(report)


def _judged(report: RunReport | DryRunReport, job: Job) -> int:
    """The exit code, and why it is not DONE."""
    from pixelmill.report.attention import End, end_of
    from pixelmill.report.model import RunReport

    if isinstance(report, RunReport):
        end = end_of(report, missing_source=job.missing_source, most=job.max_failure_rate)
        exceeded = report.exceeded_failure_rate
    else:
        end, exceeded = End("failed" if report.failure else "done", report.failure), False
    if end.words:
        click.echo(f"{'Warning' if end.kind == 'warnings' else 'Error'}: {printable(end.words)}", err=True)
    codes = {"done": DONE, "warnings": DONE, "refused": TOO_MANY_REFUSED, "failed": FAILED}
    return TOO_MANY_REFUSED if exceeded and end.kind == "warnings" else codes[end.kind]


def _by_prefect(
    job: Job, sources: list[str], *, models: Sequence[str] | None, config: Path | None, **flags: Any
) -> RunReport:
    load_quietly()
    from flows._start import check_server, prefect_api
    from flows.vectorize import vectorize

    check_server(job)
    with prefect_api():
        report: RunReport = vectorize(
            sources, models=list(models) if models else None, config=os.fspath(config) if config else None, **flags
        )
    return report


def _show(report: RunReport) -> None:
    from pixelmill.cli.report import show_section
    from pixelmill.report.text import headline, models

    click.echo(f"{printable(report.store)}: {headline(report)}")
    for line in report.notable:
        click.echo(printable(line))
    show_section(models(report))
    if report.images.quarantined:
        quarantined = number_of(report.images.quarantined, "image")
        click.echo(f"{quarantined} in quarantine: `pixelmill quarantine {report.store}` says why.")


def _show_preview(report: DryRunReport) -> None:
    from pixelmill.cli.report import show_section
    from pixelmill.report.text import headline, sections

    click.echo(headline(report))
    for section in sections(report):
        show_section(section)
