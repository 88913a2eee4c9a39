"""How much of the collection each model covers, and where what it lacks is."""

from __future__ import annotations

import os

import numpy as np

from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.web.api.answers import Model, Source
from pixelmill.web.snapshot import Snapshot
from pixelmill.words import printable


def cover(snapshot: Snapshot, matrix: Matrix, ledger: Ledger | None, *, text: bool, default: bool) -> Model:
    """Of the images that are there, those that a matrix has, cannot have, and has still to get.

    An image whose vector is there counts as embedded, whatever the quarantine says of it.
    """
    made, live = matrix.provenance, snapshot.live
    has = snapshot.store.embedded(matrix) & live
    refused = np.zeros_like(live)
    rows = ledger.quarantined_rows(made.fingerprint) if ledger else []
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


def by_source(snapshot: Snapshot) -> list[Source]:
    """The folders that runs looked at, largest first, with what each served matrix has of them."""
    places, names = snapshot.places
    store, live = snapshot.store, snapshot.live
    counts = {model: np.bincount(places[live & store[model].embedded], minlength=len(names)) for model in store.models}
    images = np.bincount(places[live], minlength=len(names))
    return [
        Source(
            source=printable(os.fsdecode(names[i])),
            images=int(images[i]),
            embedded={model: int(count[i]) for model, count in counts.items()},
        )
        for i in np.argsort(-images, kind="stable")
    ]
