"""Commands that look at a store or look after it."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import common, completers
from pixelmill.cli.main import DONE, FAILED
from pixelmill.formatting import number_of, printable

if TYPE_CHECKING:
    from pixelmill.store.rows import Quarantined


@click.command(short_help="Which images were refused, and why.")
@common.store_folder
@common.as_json
@click.option("--retry", is_flag=True, help="Empty the quarantine: the next run tries these images again.")
def quarantine(store: Path, as_json: bool, retry: bool) -> None:
    """Which file, at which stage, why, and since when. An image is tried again when its file changes."""
    entries = _released(store) if retry else _listed(store)
    if as_json:
        common.print_json({"quarantined": [_entry(entry) for entry in entries], "released": retry})
        return
    table = common.table("", "file", "stage", "reason", "model", "since")
    for entry in entries:
        since = datetime.fromtimestamp(entry.since).strftime("%Y-%m-%d %H:%M")
        table.add_row(printable(entry.path), entry.stage, entry.reason, entry.model or "every model", since)
    common.print_table(table)
    click.echo(f"{len(entries):,} images{', released for the next run' if retry else ''}.")


@click.command(short_help="Check a store.")
@common.store_folder
@click.option("--deep", is_flag=True, help="Also embed a sample again and compare.")
@common.as_json
@common.config_file
def verify(store: Path, deep: bool, as_json: bool, config: Path | None) -> int:
    """Check every part against its checksum, the master's links, the alignment of rows, and the ledger; and that
    nothing is left of what was forgotten."""
    from pixelmill.store.verify import forgotten_count
    from pixelmill.store.verify import verify as check

    damages = check(store)
    forgotten = 0 if damages else forgotten_count(store)
    checks = _deep(store, config) if deep and all(d.is_sound for d in damages) else []
    drifted = [c for c in checks if not c.sound]
    if as_json:
        told = [{"file": d.file, "problem": d.problem, "dataset": d.dataset, "rows": d.rows} for d in damages]
        sound, deeply = not damages and not drifted, [c.as_dict() for c in checks]
        common.print_json({"sound": sound, "damages": told, "deep": deeply, "forgotten": forgotten})
    else:
        for line in [*map(str, damages), *map(str, checks)]:
            click.echo(printable(line))
        if forgotten:
            click.echo(f"{number_of(forgotten, 'picture')} forgotten, of which nothing is left.")
        damaged = any(not d.is_sound for d in damages)
        click.echo(_verdict(store, damaged=damaged, drifted=bool(drifted), unerased=bool(damages)))
    return FAILED if damages or drifted else DONE


def _verdict(store: Path, *, damaged: bool, drifted: bool, unerased: bool) -> str:
    if damaged:
        return f"Damaged. `pixelmill repair {store}` saves what it can."
    if drifted:
        return (
            "Drifted: the files are sound, but the models make other vectors now. The next run fills a new generation."
        )
    if unerased:
        return f"Sound, but something may be left of what was forgotten. `pixelmill forget {store}` ends that."
    return "Sound."


@click.command(short_help="Merge small parts.")
@common.store_folder
@click.option(
    "--keep-generations", type=click.IntRange(0), metavar="N", help="Old generations of a model to keep.  [settings: 1]"
)
@common.config_file
def compact(store: Path, keep_generations: int | None, config: Path | None) -> None:
    """Merge small part files into large ones, and drop old generations. Old parts stay a day for readers of older
    snapshots."""
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.compact import compact as merge
    from pixelmill.store.reader import Store

    Store(store)
    with StoreWriter(store) as writer:
        done = merge(writer, keep_generations=_kept(keep_generations, config))
    for dropped in done.dropped:
        click.echo(f"Dropped {dropped}.")
    click.echo(f"{done.parts_before} parts before, {done.parts_after} after; {done.deleted} expired files deleted.")


def _kept(given: int | None, config: Path | None) -> int:
    return common.settings_from(config).run.keep_generations if given is None else given


@click.command(short_help="Save what can be saved.")
@common.store_folder
def repair(store: Path) -> None:
    """Rebuild the master and the ledger, drop damaged parts, and say what must be embedded again."""
    from pixelmill.store.verify import repair as mend

    done = mend(store)
    for action in done.actions or ("nothing was broken",):
        click.echo(action)
    for model, rows in done.to_embed.items():
        if rows:
            click.echo(f"{model}: {rows:,} rows without a vector; the next run embeds those whose file is there")


@click.command(short_help="A whole copy, while runs go on.")
@common.store_folder
@click.argument("target", type=common.LocalPath(path_type=Path, file_okay=False))
@common.as_json
def backup(store: Path, target: Path, as_json: bool) -> None:
    """Copy a store to TARGET, which is empty, not there, or an earlier backup: then only what is new is copied.

    The copy is a store. To restore, the same the other way round: `pixelmill backup TARGET STORE`.
    """
    from pixelmill.progress import download_bar
    from pixelmill.store.backup import backup as copy

    with download_bar("parts") as progress:
        done = copy(store, target, progress)
    if as_json:
        common.print_json(asdict(done))
        return
    click.echo(
        f"{printable(str(target))}: {number_of(done.rows, 'row')}, revision {done.revision}; "
        f"{number_of(done.copied, 'part')} copied ({common.human_bytes(done.bytes)}), {done.kept:,} there already."
    )


@click.command(short_help="Copy vectors out.")
@common.store_folder
@click.argument("out", type=common.LocalPath(path_type=Path, dir_okay=False), metavar="OUT.{h5,npy,parquet}")
@click.option(
    "--models",
    required=True,
    metavar="A,B",
    shell_complete=completers.stored_model,
    help="Models side by side, in this order.",
)
@click.option("--normalize", is_flag=True, help="Divide each model's vector by its length.")
@click.option("--weights", metavar="0.7,0.3", help="Multiply each model's vector.")
@click.option("--columns", metavar="A,B|all|none", help="Which columns go with them, but for .npy. Default: all.")
@click.option("--where", metavar="SQL", help="Only what fulfils a condition: \"label = 'dog' AND width > 500\".")
def export(
    store: Path, out: Path, models: str, normalize: bool, weights: str | None, columns: str | None, where: str | None
) -> None:
    """Copy the vectors of one model, or of an ensemble, with paths, checksums and columns, to one file for other
    tools."""
    from pixelmill.search.where import rows_where
    from pixelmill.store.export import export as write
    from pixelmill.store.reader import Store

    opened = Store(store)
    ensemble = opened.concatenated(_listed_names(models), weights=numbers(weights), normalize=normalize)
    chosen = {"all": None, "none": []}.get(columns or "all", _listed_names(columns or ""))
    passing = None if where is None else rows_where(opened, where)
    done = write(opened, ensemble, out, columns=chosen, passing=passing)
    beside = f", with {', '.join(done.columns)}" if done.columns else ""
    click.echo(f"{printable(' and '.join(map(os.fspath, done.files)))}: {done.shape[0]:,} x {done.shape[1]}{beside}")
    if done.left_out:
        click.echo("Columns are not in it: .npy holds vectors alone. Those of .h5 and .parquet have them.", err=True)


def _listed_names(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _listed(store: Path) -> list[Quarantined]:
    """The quarantine, read without writing a byte: the store may lie on read-only media."""
    from pixelmill.store.readonly import ledger_of

    with ledger_of(store) as ledger:
        return ledger.quarantine.entries() if ledger else []


def _released(store: Path) -> list[Quarantined]:
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.reader import Store

    Store(store)
    with StoreWriter(store) as writer:
        entries = writer.ledger.quarantine.entries()
        writer.ledger.quarantine.release()
    return entries


def numbers(text: str | None) -> list[float] | None:
    """Numbers between commas, as --weights takes them."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"Expected numbers such as 0.7,0.3. Got {text!r}.") from error


def _entry(entry: Any) -> dict[str, Any]:
    since = datetime.fromtimestamp(entry.since).astimezone().isoformat(timespec="seconds")
    return {
        "path": entry.path,
        "row": entry.row,
        "model": entry.model or None,
        "stage": entry.stage,
        "reason": entry.reason,
        "since": since,
    }


def _deep(store: Path, config: Path | None) -> list[Any]:
    from pixelmill.run.drift import reembed
    from settings.job import find_model, make_cache

    settings = common.settings_from(config)
    return reembed(store, lambda name: find_model(settings, name), make_cache(settings).open())
