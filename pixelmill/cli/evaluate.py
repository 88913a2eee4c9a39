"""`pixelmill evaluate`: which model is best on one's own pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common, completers
from pixelmill.cli.report import show_section
from pixelmill.formatting import printable
from pixelmill.paths import write_page

if TYPE_CHECKING:
    from pixelmill.evaluation.told import Evaluation


@click.command(short_help="Which model is best on my pictures.")
@common.store_folder
@click.option("--labels", required=True, metavar="COLUMN|folder", help="A column, or the folder a picture lies in.")
@click.option(
    "--models",
    metavar="A,B,A+B",
    shell_complete=completers.stored_model,
    help="Models, kept ensembles, models side by side. Default: all that the store has.",
)
@click.option("--where", metavar="SQL", help="Only pictures that fulfil a condition, as `search --where`.")
@click.option(
    "--most", default=20_000, show_default=True, type=click.IntRange(2), metavar="N", help="Pictures, at most."
)
@click.option("--prompt", "prompts", multiple=True, metavar="T", help="For zero-shot. Default: 'a photo of a {}.'")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|gpu|cuda:N", help="Where words are embedded.")
@click.option(
    "--page", type=common.LocalPath(path_type=Path, dir_okay=False), metavar="OUT.html", help="Also a page with plots."
)
@common.as_json
@common.config_file
def evaluate(
    store: Path, labels: str, models: str | None, where: str | None, most: int, prompts: tuple[str, ...], device: str,
    page: Path | None, as_json: bool, config: Path | None,
) -> None:  # fmt: skip
    """Compare the models of STORE by how well their vectors tell labels apart. No picture is read.

    \b
      pixelmill evaluate STORE --labels folder
      pixelmill evaluate STORE --labels species --models resnet152,openai_clip_vit_l14,resnet152+openai_clip_vit_l14

    Each number is a share, with the interval that holds it in 95% of resamplings of the pictures. What came of it is
    kept with STORE, where the gallery shows it.
    """
    from pixelmill.choices import PROMPTS
    from pixelmill.cli.search import searcher_of
    from pixelmill.evaluation.evaluate import Asking
    from pixelmill.evaluation.evaluate import evaluate as compare
    from pixelmill.evaluation.kept import keep
    from pixelmill.report.evaluation_page import as_page
    from pixelmill.report.speeds import speeds_of
    from pixelmill.store.reader import Store

    snapshot = Store(store)
    names = tuple(name.strip() for name in models.split(",")) if models else ()
    asking = Asking(labels, names, where, most, prompts or PROMPTS)
    searcher = searcher_of(snapshot, config, device)
    told = compare(
        snapshot, asking, texts=searcher.encoder, speeds=speeds_of(snapshot),
        tell=lambda words: click.echo(printable(words), err=True),
    )  # fmt: skip
    for problem in keep(store, told):
        click.echo(printable(problem), err=True)
    if page:
        write_page(page, as_page(told))
    if as_json:
        common.print_json(told.model_dump(mode="json"))
    else:
        _show(told)


def _show(told: Evaluation) -> None:
    from pixelmill.report.evaluation import headline, left_out, scores, verdicts

    click.echo(printable(headline(told)))
    show_section(scores(told))
    for line in (*verdicts(told), *_agreement(told), *left_out(told)):
        click.echo(printable(line))


def _agreement(told: Evaluation) -> Iterator[str]:
    for pair in told.agreement:
        yield f"Agreement of {pair.models[0]} and {pair.models[1]}: {pair.cka:.3f} (linear CKA)."
