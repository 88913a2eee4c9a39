"""`pixelmill ensemble`: models side by side under a name."""

from __future__ import annotations

from pathlib import Path

import click

from pixelmill.cli import common, completers


@click.command(short_help="Keep models side by side under a name.")
@common.store_folder
@click.argument("name", shell_complete=completers.stored_model)
@click.option(
    "--models",
    metavar="A,B",
    shell_complete=completers.stored_model,
    help="Models of the store, side by side in this order.",
)
@click.option("--weights", metavar="0.7,0.3", help="How much each counts in searches and exports.")
@click.option("--drop", "dropped", is_flag=True, help="Forget the ensemble; its models' vectors stay.")
def ensemble(store: Path, name: str, models: str | None, weights: str | None, dropped: bool) -> None:
    """Keep an ensemble under NAME: `search --model NAME`, `export --models NAME`, and /ensembles/NAME in vectors.h5.

    It takes no room: the dataset is a view of the models' rows.
    """
    from pixelmill.cli.store import numbers
    from pixelmill.store import ensembles
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.reader import Store

    if bool(models) == dropped:
        raise click.UsageError("Expected --models A,B to keep an ensemble, or --drop to forget it.")
    Store(store)
    with StoreWriter(store) as writer:
        if dropped:
            ensembles.drop(writer, name)
            return
        members = [member.strip() for member in (models or "").split(",")]
        kept = ensembles.keep(writer, name, members, numbers(weights))
    counted = (f"{model} x {weight:g}" for model, weight in zip(kept.models, kept.weights, strict=True))
    click.echo(f"{name}: {', '.join(counted)}")
