"""`pixelmill models` and `pixelmill pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common

if TYPE_CHECKING:
    from pixelmill.models.base import ModelSpec
    from pixelmill.models.weights import WeightsCache


@click.command(short_help="Show the catalog.")
@common.as_json
@common.config_file
def models(as_json: bool, config: Path | None) -> None:
    """Every model of the catalog and of the settings: embedding length, input size, parameters, weights.

    Beyond the catalog: open_clip:<architecture>/<pretrained>, timm:<name>, torchvision:<name>/<weights>.
    """
    from pixelmill import catalog
    from settings.job import find_model, make_cache

    settings = common.settings_from(config)
    cache = make_cache(settings).open()
    specs = [*(find_model(settings, name) for name in settings.models), *catalog.all_models()]
    if as_json:
        common.print_json({"models": [_described(spec, cache) for spec in specs]})
        return
    _recommend(specs)
    columns = ("model", "dim", "input", "parameters", "backend", "weights", "licence", "on this machine")
    table = common.table("", *columns, right=("dim", "input", "parameters"))
    for spec in specs:
        here = "yes" if cache.path_of(spec.weights).is_file() else ""
        numbers = (str(spec.dim), f"{spec.image_size} px", f"{spec.parameters / 1e6:,.1f} M")
        table.add_row(spec.name, *numbers, spec.backend, spec.pretrained, spec.licence, here)
    common.print_table(table)


@click.command(short_help="Download weights.")
@click.argument("names", nargs=-1, required=True, metavar="MODEL…")
@common.config_file
def pull(names: tuple[str, ...], config: Path | None) -> None:
    """Download the weights of each MODEL into the cache, resumed if cut off, verified."""
    from rich.console import Console

    from pixelmill.models.progress import download_bar
    from settings.job import find_model, make_cache

    settings = common.settings_from(config)
    cache = make_cache(settings).open()
    for spec in [find_model(settings, name) for name in names]:
        for source in spec.files:
            with download_bar(spec.name, Console(stderr=True)) as progress:
                file = cache.fetch_if_there(source, progress=progress)
            if file:
                click.echo(f"{spec.name}: {file.path} sha256={file.sha256}")


def _recommend(specs: list[ModelSpec]) -> None:
    click.echo("Recommended:")
    for spec in specs:
        if spec.recommended:
            click.echo(f"  {spec.recommended}: {spec.name}")


def _described(spec: ModelSpec, cache: WeightsCache) -> dict[str, object]:
    from pixelmill.models.mirrors import without_secrets

    return {
        "name": spec.name,
        "backend": spec.backend,
        "architecture": spec.architecture,
        "pretrained": spec.pretrained,
        "dim": spec.dim,
        "image_size": spec.image_size,
        "parameters": spec.parameters,
        "text": spec.text,
        "licence": spec.licence,
        "weights": without_secrets(spec.weights.url),
        "sha256": spec.weights.sha256,
        "cached": cache.path_of(spec.weights).is_file(),
        "recommended": spec.recommended,
    }
