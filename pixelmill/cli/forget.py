"""`pixelmill forget`: pictures erased from a store and all that was made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pixelmill.cli import common
from pixelmill.cli.main import DONE, FAILED
from pixelmill.formatting import number_of, printable

if TYPE_CHECKING:
    from pixelmill.forgetting.chosen import Which
    from pixelmill.forgetting.told import Forgotten

_SECONDS: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def _seconds(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    """A span of time such as 30d, 12h or 2w, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", given or "")
    if given is not None and found is None:
        raise click.BadParameter(f"Expected a span such as 30d, 12h or 2w. Got {given!r}.")
    return float(found[1]) * _SECONDS[found[2]] if found else None


@click.command(short_help="Erase pictures from a store, and all that was made of it.")
@common.store_folder
@click.option("--where", metavar="SQL", help="Those that fulfil a condition: \"path LIKE 'anna/%'\".")
@click.option("--gone-for", callback=_seconds, metavar="30d", help="Those that no file has held for so long.")
@click.option("--dry-run", is_flag=True, help="Only tell how many.")
@common.as_json
@common.config_file
def forget(
    store: Path, where: str | None, gone_for: float | None, dry_run: bool, as_json: bool, config: Path | None
) -> int:
    """Erase pictures from STORE: their vectors, paths, columns and checksums, from every file of it, the thumbnails of
    the gallery, and the settings' [[deliveries]]. It cannot be taken back.

    \b
      pixelmill forget STORE --where "path LIKE 'anna/%'" --dry-run
      pixelmill forget STORE --gone-for 30d
      pixelmill forget STORE                 ends what was cut off, or waits for a delivery

    The files themselves are nobody's business here: those that are still there are embedded again by the next run. Of
    both conditions, both must be true. `pixelmill verify` proves that nothing is left.
    """
    from pixelmill.forgetting.chosen import Which
    from pixelmill.store.forgotten import on_record
    from pixelmill.store.reader import Store

    nothing_asked = where is None and gone_for is None
    if nothing_asked and (dry_run or not on_record(Store(store).folder).is_undone):
        raise click.UsageError("Expected --where or --gone-for, which say what to forget: nothing was left undone.")
    done = _carried_out(store, None if nothing_asked else Which(where, gone_for), config, dry_run=dry_run)
    if as_json:
        common.print_json(done.model_dump(mode="json"))
    else:
        for line in _lines(done):
            click.echo(printable(line))
    return FAILED if done.pending and not dry_run else DONE


def _carried_out(store: Path, which: Which | None, config: Path | None, *, dry_run: bool) -> Forgotten:
    from pixelmill.forgetting.forget import forget as carry_out
    from pixelmill.forgetting.forget import preview
    from pixelmill.progress import step_shown
    from settings.deliveries import chosen

    if dry_run and which:
        return preview(store, which)
    settings = common.settings_from(config)
    common.warn_on_stderr()
    deliveries = chosen(settings.deliveries) if settings.deliveries else ()
    with step_shown("Forgetting"):
        return carry_out(
            store, which, thumbnails=settings.web.cache_dir, handover=settings.run.handover or "",
            deliveries=deliveries,
        )  # fmt: skip


def _lines(done: Forgotten) -> Iterator[str]:
    from pixelmill.report.deliveries import line

    rows = number_of(done.rows, "picture")
    if done.dry_run:
        yield f"It would forget {rows}."
    elif not done.rows:
        yield f"No more to forget: nothing of what was forgotten is left in {done.store}."
    else:
        yield f"Forgot {rows}: nothing of them is left in {done.store}."
    if done.still_there:
        yield (
            f"{done.still_there:,} of them had a file at the last run. Where that is still in place, the next run "
            "embeds it again, as new: move it away or delete it before."
        )
    if done.indexes:
        yield f"The index of {', '.join(done.indexes)} went with them: the flow `index` makes it anew."
    if done.handed_over:
        yield f"{number_of(done.handed_over, 'answer')} of workers went with them: the next run does that work again."
    yield from done.warnings
    yield from map(line, done.deliveries)
    if done.pending:
        yield (
            f"Something may still lie where deliveries went ({', '.join(done.pending)}): run `pixelmill forget "
            f"{done.store}` again when that can be reached, with their [[deliveries]] in the settings."
        )
    if done.rows and not done.dry_run:
        yield (
            "Not reached: exports, snapshots of the disk, galleries of other machines or users, and backups, which the "
            "next `pixelmill backup` clears."
        )
