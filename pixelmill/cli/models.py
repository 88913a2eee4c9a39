"""`pixelmill models` and `pixelmill pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common, completers
from pixelmill.cli.help import Commands

if TYPE_CHECKING:
    from pixelmill.models.base import ModelSpec
    from pixelmill.models.check import Checked
    from pixelmill.models.weights import WeightsCache


@click.group(cls=Commands, short_help="Show the catalog; check a model.", invoke_without_command=True)
@click.option("--search", "searched", metavar="WORDS", help="Every published weight whose name holds the words.")
@common.as_json
@common.config_file
@click.pass_context
def models(ctx: click.Context, searched: str | None, as_json: bool, config: Path | None) -> None:
    """Every model of the catalog and of the settings: embedding length, input size, parameters, weights.

    Beyond the catalog, found by --search: open_clip:<architecture>/<pretrained>, timm:<name>,
    torchvision:<name>/<weights>; and hf-hub:<owner>/<name>@<commit>.
    """
    if ctx.invoked_subcommand:
        return
    if searched is not None:
        _show_published(searched, as_json)
        return
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
@click.argument("names", nargs=-1, required=True, metavar="MODEL…", shell_complete=completers.any_model)
@common.config_file
def pull(names: tuple[str, ...], config: Path | None) -> None:
    """Download the weights of each MODEL into the cache, resumed if cut off, verified."""
    from pixelmill.progress import download_bar
    from settings.job import find_model, make_cache

    settings = common.settings_from(config)
    cache = make_cache(settings).open()
    for spec in [find_model(settings, name) for name in names]:
        for source in spec.files:
            with download_bar(spec.name) as progress:
                file = cache.fetch_if_there(source, progress=progress)
            if file:
                click.echo(f"{spec.name}: {file.path} sha256={file.sha256}")


def _show_published(searched: str, as_json: bool) -> None:
    from dataclasses import asdict

    from pixelmill.catalog import search

    found = search(searched.split())
    if as_json:
        common.print_json({"models": [asdict(one) for one in found]})
        return
    numbers = ("dim", "input", "parameters", "download")
    table = common.table("", "model", *numbers, "licence", right=numbers)
    for one in found:
        if one.why_not:
            table.add_row(one.name, "", "", "", "", f"not here: {one.why_not}")
            continue
        size = f"{'~' if one.about else ''}{common.human_bytes(one.bytes)}" if one.bytes else ""
        parameters = f"{one.parameters / 1e6:,.1f} M" if one.parameters else ""
        table.add_row(one.name, str(one.dim), f"{one.image_size} px", parameters, size, one.licence)
    common.print_table(table)
    click.echo(f"{len(found)} models")


@models.command("check")
@click.argument("name", metavar="MODEL", shell_complete=completers.any_model)
@common.as_json
@common.config_file
def check(name: str, as_json: bool, config: Path | None) -> int:
    """Load MODEL, embed pictures with it, and compare it with the published model that it comes from.

    Exit code 1 when there are doubts: random weights, another activation or normalisation than the base has.
    """
    from dataclasses import asdict

    from pixelmill import catalog
    from pixelmill.models.check import check as checked
    from settings.job import find_model, make_cache

    settings = common.settings_from(config)
    found = checked(find_model(settings, name), make_cache(settings).open(), catalog.all_models())
    if as_json:
        common.print_json(asdict(found))
    else:
        _show_check(found)
    return 1 if found.doubts else 0


def _show_check(found: Checked) -> None:
    tower = "words and pictures" if found.text else "pictures only"
    click.echo(
        f"{found.name}: {found.backend} {found.architecture}, {found.parameters / 1e6:,.1f} M parameters, {tower}"
    )
    click.echo(f"weights: {found.path} sha256={found.sha256}")
    click.echo(f"input {found.image_size} px, embeddings ({found.dim},), lengths {_from_to(found.norms)}")
    click.echo(f"cosines between four different pictures {_from_to(found.cosines)}")
    if base := found.base:
        most = f", most of all {', '.join(base.changed[:3])}" if base.changed else ""
        differ = f"{len(base.changed)} of {base.tensors} tensors differ, by {base.changed_by:.1%} at their median"
        click.echo(f"nearest to {base.name}: {differ}{most}")
    else:
        click.echo("no published model of this architecture that it comes from is in the cache (`pixelmill pull`)")
    for doubt in found.doubts:
        click.echo(f"DOUBT: {doubt}")


def _from_to(values: tuple[float, float]) -> str:
    return f"{values[0]:.4g} to {values[1]:.4g}"


def _recommend(specs: list[ModelSpec]) -> None:
    click.echo("Recommended:")
    for spec in specs:
        if spec.recommended:
            click.echo(f"  {spec.recommended}: {spec.name}")


def _described(spec: ModelSpec, cache: WeightsCache) -> dict[str, object]:
    from pixelmill.models.fetch.mirrors import without_secrets

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
