"""`pixelmill bench`: how fast models are on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

import click

from pixelmill.choices import AskedPrecision, Decode
from pixelmill.cli import common, completers
from pixelmill.formatting import number_of

if TYPE_CHECKING:
    from pixelmill.bench import Figures

_NUMBERS = ("images/s", "ms/image", "decoding alone", "model alone", "batch size", "memory", "dim")
_COLUMNS = ("model", "device", "precision", "images/s", "ms/image", "bottleneck", *_NUMBERS[2:])


@click.command(short_help="Measure models on this machine.")
@click.argument("sources", nargs=-1, metavar="[SOURCE…]", shell_complete=completers.file)
@click.option(
    "--models",
    metavar="A,B",
    shell_complete=completers.any_model,
    help="Models; see `pixelmill models`. Default: those of the settings.",
)
@click.option("--device", metavar="auto|cpu|gpu|cuda|cuda:N", help="Where the models run.")
@click.option(
    "--precision", type=click.Choice(get_args(AskedPrecision)), help="auto: the fastest with cosine >= 0.999, measured."
)
@click.option("--decode", type=click.Choice(get_args(Decode)), help="reference: upstream's own preprocessing.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="For each measurement.")
@common.as_json
@common.config_file
def bench(
    sources: tuple[str, ...], models: str | None, seconds: float, as_json: bool, config: Path | None, **flags: Any
) -> None:
    """Images/s of each model over images of each SOURCE: of a run, and of its two stages alone.

    Without a SOURCE: over rendered JPEGs of 500 x 375 pixels. The batch size is the smallest that is about as fast
    as any.
    """
    from pixelmill.bench import measure_in_new_process, render
    from pixelmill.progress import going_on
    from pixelmill.run.preflight import check_devices, check_sources
    from settings import load_settings
    from settings.job import make_job

    settings = load_settings(config, {"run": {"models": models, **flags}})
    with TemporaryDirectory(prefix="pixelmill-bench-") as scratch:
        if not sources:
            render(Path(scratch))
        job = make_job(settings, sources or [scratch])
        check_devices(job)
        check_sources(job)
        click.echo(f"{number_of(len(job.specs), 'model')}, about {4 * seconds:.0f} s each and its start.", err=True)
        measured = []
        for number, spec in enumerate(job.specs, 1):
            with going_on(f"{spec.name} ({number} of {len(job.specs)})"):
                measured.append(measure_in_new_process(job, spec, seconds))
    if as_json:
        common.print_json({"models": [asdict(figures) for figures in measured]})
    else:
        _show(measured)


def _show(measured: list[Figures]) -> None:
    table = common.table("", *_COLUMNS, right=_NUMBERS)
    for one in measured:
        memory = f"{one.memory_mb:,} MB" + (f" + {one.device_memory_mb:,} MB" if one.device_memory_mb else "")
        table.add_row(
            one.model, one.device, one.precision, f"{one.images_per_second:.1f}", f"{one.ms_per_image:.1f}",
            one.bottleneck, f"{one.decode_images_per_second:.1f}", f"{one.model_images_per_second:.1f}",
            str(one.recommended_batch_size), memory, str(one.dim),
        )  # fmt: skip
    common.print_table(table)
