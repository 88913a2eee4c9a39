"""When a generation takes over: it covers all that the served one of its model has and that is still there."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Fillable, Matrix
from pixelmill.store.reader import Store


def ready_to_serve(store: Store, ledger: Ledger, fingerprints: Sequence[str]) -> list[Matrix]:
    """Those of the matrices named that cover what their model serves now, and are not served."""
    named = [matrix for matrix in store.manifest.matrices if matrix.provenance.fingerprint in fingerprints]
    return [matrix for matrix in named if _is_ready(store, ledger, matrix)]


def _is_ready(store: Store, ledger: Ledger, matrix: Matrix) -> bool:
    serving = store.manifest.serving(matrix.provenance.model)
    return not matrix.serving and serving is not None and covers(store, ledger, matrix, serving)


def covers(store: Store, ledger: Ledger, new: Fillable, old: Fillable) -> bool:
    """Whether `new` has all rows that `old` has and that are still there, but for those that it refuses."""
    lacking = store.embedded(old) & ~store.embedded(new)
    refused = ledger.quarantine.rows(new.fingerprint)
    lacking[[row for row in refused if row < len(lacking)]] = False
    return not lacking.any() or not (lacking & ledger.contents.live_rows(len(store))).any()
