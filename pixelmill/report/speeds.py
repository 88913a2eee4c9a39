"""How fast models were, by the reports that a store keeps."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from pixelmill.report.history import MEASURED, TIMED, recorded
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of


def speeds_of(store: Store) -> dict[str, float]:
    """Images a second of each served model, all workers together, while the models of a run took turns: the median of
    those of the last runs that embedded enough to measure it, in the precision that is served. Models without one are
    not among them."""
    with ledger_of(store.folder) as ledger:
        runs = recorded(ledger, TIMED) if ledger else []
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, model in run.models.items():
            if model.embedded >= MEASURED and model.images_per_second > 0:
                found[f"{name} {model.precision}"].append(model.images_per_second)
    keys = {name: f"{name} {store[name].provenance.precision}" for name in store.models}
    return {name: median(found[key]) for name, key in keys.items() if key in found}
