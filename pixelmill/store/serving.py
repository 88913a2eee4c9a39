"""When a generation takes over: it covers all that the served one of its model has and that is still there."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store


def ready_to_serve(store: Store, ledger: Ledger, fingerprints: Sequence[str]) -> list[Matrix]:
    """Those of the matrices named that cover what their model serves now, and are not served."""
    named = [matrix for matrix in store.manifest.matrices if matrix.provenance.fingerprint in fingerprints]
    return [matrix for matrix in named if _is_ready(store, ledger, matrix)]


def _is_ready(store: Store, ledger: Ledger, matrix: Matrix) -> bool:
    serving = store.manifest.serving(matrix.provenance.model)
    if matrix.serving or serving is None:
        return False
    lacking = store.embedded(serving) & ~store.embedded(matrix)
    refused = ledger.quarantine.rows(matrix.provenance.fingerprint)
    lacking[[row for row in refused if row < len(lacking)]] = False
    return not lacking.any() or not (lacking & ledger.contents.live_rows(len(store))).any()
