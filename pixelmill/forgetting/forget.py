"""Forget pictures: put together of what erases them in each place. What dies on the way, the next one does again."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pixelmill.curation import nights
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.erase import deliver_erased
from pixelmill.deliver.record import on_record as deliveries_on_record
from pixelmill.deliver.told import Delivered
from pixelmill.errors import PixelmillError, reason_of
from pixelmill.evaluation.kept import forget_names
from pixelmill.forgetting.chosen import Which, chosen, still_there
from pixelmill.forgetting.foreign import naming
from pixelmill.forgetting.told import Forgotten
from pixelmill.heads.kept import forget_layers
from pixelmill.run.left import forget_left
from pixelmill.run.turn import turn
from pixelmill.search.index_files import forget_rows as forget_indexed
from pixelmill.store.commit import StoreWriter
from pixelmill.store.content_sizes import sha256_of
from pixelmill.store.erase import erase
from pixelmill.store.filesystem import clock
from pixelmill.store.forgotten import Rows, are_forgotten, keep, on_record, ranges
from pixelmill.store.labels import forget_labels
from pixelmill.store.master import home_of
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from pixelmill.web import thumbnails

log = logging.getLogger(__name__)


def forget(
    store: Path, which: Which | None, *, thumbnails: Path, handover: str = "", deliveries: Sequence[Delivery] = ()
) -> Forgotten:
    """Erase rows from a store and all that was made of it, and whatever an earlier one has left undone; None: that
    alone.

    `thumbnails` is the gallery's folder, `handover` where runs of the store meet their workers ('': in the store),
    `deliveries` are those of the settings. No run is at work meanwhile. Raises QueryError, StoreError; what it has come
    to by then the next one, or the next run, brings to its end.
    """
    Store(store)
    with turn(store), StoreWriter(store) as writer:
        writer.update_locations(())  # which takes note of what is gone
        snapshot, found = writer.snapshot(), Forgotten(store=os.fspath(store))
        if which is not None:
            rows = chosen(snapshot, writer.ledger, which)
            there = still_there(writer.ledger, rows, len(snapshot))
            found = found.model_copy(update={"rows": len(rows), "still_there": there})
            _begin(writer, rows, thumbnails, deliveries)
        found = found.model_copy(update=finish(writer, handover))
        done = _deliver(writer.folder, deliveries)
    return found.model_copy(update={"deliveries": done, "pending": on_record(writer.folder).deliveries})


def preview(store: Path, which: Which) -> Forgotten:
    """What `forget` would erase; nothing is written."""
    snapshot, found = Store(store), Forgotten(store=os.fspath(store), dry_run=True)
    with ledger_of(store) as ledger:
        if ledger is None:
            return found
        rows = chosen(snapshot, ledger, which)
        there = still_there(ledger, rows, len(snapshot))
    return found.model_copy(update={"rows": len(rows), "still_there": there, "pending": on_record(store).deliveries})


def resume(store: Path, handover: str) -> None:
    """`finish`, for a run, if there is anything to do; where that fails the run goes on, and its report has why."""
    folder = home_of(store)
    try:
        if on_record(folder).rows:
            with StoreWriter(folder) as writer:
                finish(writer, handover)
    except (PixelmillError, OSError) as error:
        log.warning("%s", reason_of(error))


def finish(writer: StoreWriter, handover: str = "") -> dict[str, object]:
    """Erase what is on record as to be forgotten, in all places but deliveries; what went with it, by the names of
    `Forgotten`. Whoever calls it is the only run."""
    rows = on_record(writer.folder).numbers
    if not len(rows):
        return {}
    store = writer.snapshot()
    digests = sha256_of(store, rows)
    contents = [one.tobytes() for one in digests[~are_forgotten(digests)]]
    paths = {path for row in rows.tolist() if (path := store.place(row)[1])}
    place = handover or os.fspath(writer.folder.absolute() / "runs")
    told = {
        "thumbnails": _without_thumbnails(writer.folder, contents),
        "indexes": forget_indexed(store, rows),
        "handed_over": forget_left(place, writer, contents, paths),
    }
    forget_labels(writer.folder, contents)
    forget_layers(writer.folder)
    forget_names(writer.folder)
    erase(writer, rows)
    warnings = nights.forget(writer, rows)
    erase(writer, rows)  # the columns that this has replaced
    forget_labels(writer.folder, contents)  # given meanwhile by somebody who still saw them in the gallery
    _without_thumbnails(writer.folder, contents)
    foreign = [f"{file} names some of them, and is none of the store's: delete it, or what it says of them."
               for file in naming(writer.folder, contents, paths)]  # fmt: skip
    _end(writer.folder)
    return {**told, "warnings": (*warnings, *foreign)}


def _begin(writer: StoreWriter, rows: Rows, thumbnails: Path, deliveries: Sequence[Delivery]) -> None:
    """Have it on record that rows are to be forgotten, before anything of them is touched."""
    if not len(rows):
        return
    before = on_record(writer.folder)
    all_rows = np.union1d(before.numbers, rows)
    made = {done.name for done in deliveries_on_record(writer.folder)} | {one.name for one in deliveries}
    names = tuple(sorted({*before.deliveries, *made}))
    update = {"rows": ranges(all_rows), "thumbnails": os.fspath(thumbnails), "deliveries": names}
    keep(writer.folder, before.model_copy(update=update))


def _end(folder: Path) -> None:
    os.sync()  # what was deleted outside of the store, too, is gone for good before nobody looks for it any more
    update = {"rows": (), "thumbnails": "", "erased_at": clock(folder)}
    keep(folder, on_record(folder).model_copy(update=update))


def _without_thumbnails(folder: Path, contents: Sequence[bytes]) -> int:
    place = on_record(folder).thumbnails
    return thumbnails.forget(Path(place), contents) if place else 0


def _deliver(folder: Path, deliveries: Sequence[Delivery]) -> tuple[Delivered, ...]:
    """Make the deliveries that may hold forgotten rows still; one that did it is on record no more, nor one that nobody
    makes and whose last is not on record any more."""
    known, done = {one.name: one for one in deliveries}, list[Delivered]()
    there = {told.name for told in deliveries_on_record(folder)}
    for name in on_record(folder).deliveries:
        if name in known:
            done.append(deliver_erased(folder, known[name]))
        if (name in known and done[-1].is_equal) or (name not in known and name not in there):
            before = on_record(folder)
            left = tuple(other for other in before.deliveries if other != name)
            keep(folder, before.model_copy(update={"deliveries": left}))
    return tuple(done)
