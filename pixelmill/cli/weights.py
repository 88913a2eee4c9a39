"""`pixelmill weights`: what the cache holds, its pruning, and bundles for machines without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import common, completers
from pixelmill.cli.help import Commands

if TYPE_CHECKING:
    from pixelmill.models.base import ModelSpec
    from pixelmill.models.inventory import Held
    from pixelmill.models.weights import WeightsCache
    from settings import Settings


@click.group(cls=Commands, short_help="The cache of weights, and bundles.")
def weights() -> None:
    """What the weights cache holds, its pruning, and bundles for machines without a network."""


@weights.command("list")
@common.as_json
@common.config_file
def list_(as_json: bool, config: Path | None) -> None:
    """Every file of the weights cache: its models, size and last use."""
    from pixelmill.models.inventory import inventory

    settings, cache = _opened(config)
    held = inventory(cache, _known(settings))
    total = sum(one.bytes for one in held)
    if as_json:
        common.print_json({"cache_dir": str(cache.cache_dir), "bytes": total, "files": [_described(o) for o in held]})
        return
    table = common.table("", "model", "size", "last used", "file", right=("size",))
    for one in held:
        table.add_row(*_row(one))
    common.print_table(table)
    click.echo(f"{len(held)} files, {common.human_bytes(total)} in {cache.cache_dir}")


@weights.command()
@click.argument("names", nargs=-1, metavar="[MODEL…]", shell_complete=completers.any_model)
@click.option("--unused-for", type=click.FloatRange(0), metavar="DAYS", help="Only what nothing used for so long.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@common.config_file
def prune(names: tuple[str, ...], unused_for: float | None, dry_run: bool, config: Path | None) -> None:
    """Remove files from the weights cache: those of each MODEL, or of all that nothing has used for some days."""
    from pixelmill.models import inventory
    from settings.job import find_model

    if not names and unused_for is None:
        raise click.UsageError("Expected models to remove, or --unused-for DAYS.")
    settings, cache = _opened(config)
    specs = [find_model(settings, name) for name in names]
    held = inventory.inventory(cache, specs or _known(settings))
    chosen = [one for one in held if not names or one.models]
    if unused_for is not None:
        chosen = inventory.unused_for(chosen, unused_for)
    for one in chosen:
        click.echo(f"{'would remove' if dry_run else 'removed'} {one.path} ({common.human_bytes(one.bytes)})")
        if not dry_run:
            inventory.remove(one)
    click.echo(f"{common.human_bytes(sum(one.bytes for one in chosen))} {'to free' if dry_run else 'freed'}")


@weights.command()
@click.argument("names", nargs=-1, required=True, metavar="MODEL…", shell_complete=completers.any_model)
@click.option(
    "-o", "--output", "folder", required=True, type=common.LocalPath(path_type=Path, file_okay=False), metavar="BUNDLE",
    help="The folder to make or add to.",
)  # fmt: skip
@common.config_file
def bundle(names: tuple[str, ...], folder: Path, config: Path | None) -> None:
    """Put all that each MODEL needs into a folder, verified, for a machine without a network.

    There `mirrors = "BUNDLE"` under [weights] makes it the place that everything comes from.
    """
    from pixelmill.models.pack import is_remote, pack
    from settings.job import find_model

    settings, cache = _opened(config)
    specs = [find_model(settings, name) for name in names]
    made = pack(specs, cache, folder)
    for spec in specs:
        files = [made.files[path] for path in made.models[spec.name]]
        click.echo(f"{spec.name}: {len(files)} files, {common.human_bytes(sum(file.bytes for file in files))}")
        for source in spec.files:
            if not is_remote(source) and source.url.startswith("file:"):
                click.echo(f"{spec.name}: not in the bundle: {cache.path_of(source)}. Take it along by hand.", err=True)
    click.echo(f'On the other machine: [weights] mirrors = "{folder}"')


def _opened(config: Path | None) -> tuple[Settings, WeightsCache]:
    from settings.job import make_cache

    settings = common.settings_from(config)
    return settings, make_cache(settings).open()


def _known(settings: Settings) -> list[ModelSpec]:
    from pixelmill import catalog
    from settings.job import find_model

    return [*(find_model(settings, name) for name in settings.models), *catalog.all_models()]


def _row(one: Held) -> tuple[str, str, str, str]:
    from datetime import UTC, datetime

    what = ", ".join(one.models) or one.url
    used = datetime.fromtimestamp(one.used, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    return (what if one.whole else f"{what} (cut off)"), common.human_bytes(one.bytes), used, str(one.path)


def _described(one: Held) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(one), "path": str(one.path)}
