"""`pixelmill info`: what a store holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import common
from pixelmill.formatting import printable

if TYPE_CHECKING:
    from pixelmill.store.manifest import Matrix
    from pixelmill.store.reader import Store


@click.command(short_help="What a store holds.")
@common.store_folder
@common.as_json
def info(store: Path, as_json: bool) -> None:
    """Rows, matrices and what made them, coverage, columns, size, parts, and what came of its deliveries."""
    from pixelmill.deliver.record import on_record
    from pixelmill.images.locked import in_words
    from pixelmill.report.deliveries import on_record_line
    from pixelmill.store.reader import Store

    described, deliveries = _described(Store(store)), on_record(store)
    if as_json:
        common.print_json({**described, "deliveries": [done.model_dump(mode="json") for done in deliveries]})
        return
    size = common.human_bytes(described["bytes"])
    click.echo(f"{store}: {described['rows']:,} rows, {described['parts']} parts, {size}, {described['published_at']}")
    columns = ("matrix", "dim", "dtype", "embedded", "coverage", "precision", "decode", "fingerprint")
    table = common.table("", *columns, right=("dim", "embedded", "coverage"))
    for m in described["matrices"]:
        share = f"{m['coverage']:.1%}"
        numbers = (str(m["dim"]), m["dtype"], f"{m['embedded']:,}", share)
        table.add_row(m["dataset"], *numbers, m["precision"], m["decode"], m["fingerprint"][:16])
    common.print_table(table)
    for line in described["generations"]:
        click.echo(line)
    if described["columns"]:
        table = common.table("", "column", "kind", "unit", "source", "values", right=("values",))
        for c in described["columns"]:
            table.add_row(printable(c["name"]), c["kind"], c["unit"], c["source"], f"{c['values']:,}")
        common.print_table(table)
    for kept in described["ensembles"]:
        click.echo(f"ensemble {kept['name']}: {', '.join(kept['models'])}, weights {kept['weights']}")
    for done in deliveries:
        click.echo(printable(f"delivery {on_record_line(done)}"))
    for warning in filter(None, (*described["warnings"], in_words(described["sandbox_lacks"]))):
        click.echo(f"Warning: {printable(warning)}")


def _described(store: Store) -> dict[str, Any]:
    from pixelmill.images.locked import missing
    from pixelmill.store.filesystem import warnings_for
    from pixelmill.store.generations import story

    manifest = store.manifest
    files = [f for f in store.folder.rglob("*") if f.is_file()]
    return {
        "store": os.fspath(store.folder),
        "rows": manifest.rows,
        "parts": len(manifest.used_parts()),
        "bytes": sum(f.stat().st_size for f in files),
        "revision": manifest.revision,
        "published_at": manifest.published_at,
        "format_version": manifest.format_version,
        "pixelmill_version": manifest.pixelmill_version,
        "matrices": [_matrix(store, matrix) for matrix in manifest.matrices],
        "generations": list(story(manifest)),
        "columns": [_column(store, name) for name in store.columns],
        "ensembles": [ensemble.model_dump(mode="json") for ensemble in manifest.ensembles],
        "warnings": list(warnings_for(store.folder)),
        "sandbox_lacks": missing(),
    }


def _matrix(store: Store, matrix: Matrix) -> dict[str, Any]:
    from pixelmill.store.generations import state

    embedded = int(store.embedded(matrix).sum())
    return {
        "dataset": matrix.published_name,
        "serving": matrix.serving,
        "state": state(store.manifest, matrix),
        "dtype": matrix.dtype,
        "embedded": embedded,
        "coverage": embedded / len(store) if len(store) else 0.0,
        **matrix.provenance.model_dump(),
    }


def _column(store: Store, name: str) -> dict[str, Any]:
    group, column = store.columns.about(name)
    return {
        "name": name, "kind": column.kind, "unit": column.unit, "source": group.source, "version": group.version,
        "values": store.columns.count(name),
    }  # fmt: skip
