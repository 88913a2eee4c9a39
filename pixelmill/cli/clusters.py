"""`pixelmill clusters`: what kinds of pictures there are."""

from __future__ import annotations

from pathlib import Path

import click

from pixelmill.cli import common
from pixelmill.formatting import number_of, printable


@click.command(short_help="Kinds of pictures, each called by the one in its middle.")
@common.store_folder
@click.option("--number", type=click.IntRange(1), metavar="N", help="Clusters. Default: by the number of pictures.")
@common.one_model
@click.option("--show", default=20, show_default=True, type=click.IntRange(0), metavar="N", help="Clusters to tell of.")
@common.as_json
def clusters(store: Path, number: int | None, model: str | None, show: int, as_json: bool) -> None:
    """Put the pictures of STORE into clusters by what they are like, the largest first.

    By the vectors of one model; no picture is read. The column cluster has for each the path of the picture in the
    middle of its cluster; each run puts what is new into the clusters that there are.
    """
    import numpy as np

    from pixelmill.curation.clusters import find_clusters
    from pixelmill.progress import step_shown
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.reader import Store

    Store(store)
    with StoreWriter(store) as writer, step_shown("Comparing pictures"):
        found = find_clusters(writer, model=model, number=number)
    order = np.argsort(-found.sizes, kind="stable").tolist()
    told = [
        {"name": found.names[at], "row": found.made.medoids[at], "pictures": int(found.sizes[at]),
         "similarity": round(float(found.cosines[at]), 4)}
        for at in order
    ]  # fmt: skip
    if as_json:
        common.print_json({"model": found.made.model, "clusters": told})
        return
    table = common.table("", "cluster", "pictures", "similarity", "row", right=("pictures", "similarity", "row"))
    for one in told[:show]:
        table.add_row(printable(str(one["name"])), f"{one['pictures']:,}", f"{one['similarity']:.4f}", str(one["row"]))
    if table.row_count:
        common.print_table(table)
    click.echo(f"{number_of(len(told), 'cluster')} by {printable(found.made.model)}. The column cluster has them.")
