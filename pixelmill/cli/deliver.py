"""`pixelmill deliver`: bring vectors to the databases and tables where they are searched, or compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import common, completers
from pixelmill.cli.main import DONE, FAILED
from pixelmill.formatting import printable

if TYPE_CHECKING:
    from pixelmill.deliver.delivery import Delivery
    from pixelmill.deliver.told import Checked, Delivered

    Told = Delivered | Checked


@click.command(short_help="Mirror vectors into the databases where they are searched.")
@click.argument("names", nargs=-1, metavar="[NAME…]", shell_complete=completers.delivery)
@click.option("--store", type=common.StorePath(path_type=str), metavar="DIR", help="Folder of the store.")
@click.option("--check", is_flag=True, help="Only compare the targets with the store: exit code 1 if one differs.")
@click.option("--full", is_flag=True, help="Make all anew beside what is served; with --check, compare every value.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent and deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead.")
@common.config_file
def deliver(
    names: tuple[str, ...],
    store: str | None,
    check: bool,
    full: bool,
    dry_run: bool,
    as_json: bool,
    config: Path | None,
) -> int:
    """Make the targets of the settings' [[deliveries]], or of those that are named, equal to the store: new and changed
    rows are sent, gone ones deleted. One that fails keeps none of the others from theirs.

    It goes on where it stopped. A run does the same at its end.
    """
    if check and dry_run:
        raise click.UsageError("Expected --check or --dry-run: both only look. Got both.")
    from settings import load_settings
    from settings.deliveries import chosen

    settings = load_settings(config, {"run": {"store": store}})
    deliveries = chosen(settings.deliveries, names)
    # What carries it out takes a while to load: a typo has been told by now.
    from pixelmill.store.reader import Store
    from pixelmill.watch.stopping import heeded

    Store(settings.run.store)
    common.warn_on_stderr()
    step, words = _step(settings.run.store, check=check, full=full, dry_run=dry_run)
    if check or dry_run:
        return _told(_carried_out(deliveries, step), words, as_json=as_json)
    with heeded():
        return _told(_carried_out(deliveries, step), words, as_json=as_json)


def _step(
    store: Path, *, check: bool, full: bool, dry_run: bool
) -> tuple[Callable[[Delivery], Told], Callable[[Any], str]]:
    """What is done with each delivery, and what is said of it."""
    from pixelmill.deliver import deliver as library
    from pixelmill.deliver.in_time import deliver_in_time
    from pixelmill.report import deliveries as said
    from pixelmill.run.retries import DELIVERY

    if check:
        return library.however(partial(library.check, store, full=full)), said.check_line
    if dry_run:
        return library.however(partial(library.preview_delivery, store, full=full)), said.preview_line
    return library.however(DELIVERY.around(partial(deliver_in_time, store, full=full), "delivering")), said.line


def _carried_out(deliveries: Sequence[Delivery], step: Callable[[Delivery], Told]) -> Iterator[Told]:
    from pixelmill.watch.stopping import asked

    for delivery in deliveries:
        if asked():
            return
        yield step(delivery)


def _told(done: Iterator[Told], words: Callable[[Any], str], *, as_json: bool) -> int:
    """Tell of each when it is done, or of all at the end; the exit code."""
    told = []
    for one in done:
        told.append(one)
        if not as_json:
            failed = bool(one.problem)
            click.echo(printable(f"{'Error: ' if failed else ''}{words(one)}"), err=failed)
    if as_json:
        common.print_json([one.model_dump(mode="json") for one in told])
    return FAILED if any(one.problem or getattr(one, "differences", ()) for one in told) else DONE
