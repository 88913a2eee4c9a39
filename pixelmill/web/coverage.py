"""How much of the collection each model covers, and where what it lacks is."""

from __future__ import annotations

import os

import numpy as np

from pixelmill.formatting import printable
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.web.answers import Model, Source
from pixelmill.web.snapshot import Snapshot


def cover(snapshot: Snapshot, matrix: Matrix, ledger: Ledger | None, *, text: bool, default: bool) -> Model:
    """Of the images that are there, those that a matrix has, cannot have, and has still to get.

    An image whose vector is there counts as embedded, whatever the quarantine says of it.
    """
    made, live = matrix.provenance, snapshot.live
    has = snapshot.store.embedded(matrix) & live
    refused = np.zeros_like(live)
    rows = ledger.quarantine.rows(made.fingerprint) if ledger else []
    refused[[row for row in rows if row < len(live)]] = True
    embedded, quarantined, images = int(has.sum()), int((refused & live & ~has).sum()), int(live.sum())
    return Model(
        name=made.model,
        dim=made.dim,
        text=text,
        default=default,
        embedded=embedded,
        quarantined=quarantined,
        pending=images - embedded - quarantined,
        coverage=embedded / images if images else 0.0,
        precision=made.precision,
        decode=made.decode,
        fingerprint=made.fingerprint,
        generation="serving" if matrix.serving else "filling",
    )


def by_source(snapshot: Snapshot, ledger: Ledger | None) -> list[Source]:
    """The folders that runs looked at, largest first, with what each served matrix has of them.

    A content counts in each folder that holds it, so that what a folder has does not depend on copies elsewhere.
    """
    rows, numbers, names = _held(snapshot, ledger)
    store = snapshot.store
    images = np.bincount(numbers, minlength=len(names))
    counts = {model: np.bincount(numbers[store[model].embedded[rows]], minlength=len(names)) for model in store.models}
    return [
        Source(
            source=printable(os.fsdecode(names[i])),
            images=int(images[i]),
            embedded={model: int(count[i]) for model, count in counts.items()},
        )
        for i in np.argsort(-images, kind="stable")
    ]


def _held(snapshot: Snapshot, ledger: Ledger | None) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """Each row that is there with each of its sources once, (M,) and (M,) indexes into the sources; the sources."""
    places, names = snapshot.places
    numbers = {name: i for i, name in enumerate(names)}
    rows = np.flatnonzero(snapshot.live)
    elsewhere = {
        (place.row, numbers.setdefault(place.source, len(numbers)))
        for place in (ledger.contents.shared_places() if ledger else ())
        if place.row < len(places) and snapshot.live[place.row]
    }
    copies = [(row, number) for row, number in sorted(elsewhere) if places[row] != number]
    more = np.array(copies, np.int64).reshape(-1, 2)
    return np.append(rows, more[:, 0]), np.append(places[rows], more[:, 1]), list(numbers)
