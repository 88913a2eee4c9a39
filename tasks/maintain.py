"""Tasks of the flow `maintain`."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.errors import StoreDamaged
from pixelmill.store import compact as compaction
from pixelmill.store import verify as verification
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import Compaction
from pixelmill.store.reader import Store
from pixelmill.watch.saying import saying


@task(name="verify", cache_policy=NO_CACHE)
def verify_store(store: Path) -> int:
    """How many images a store has. Raises StoreDamaged, naming files and rows, unless it is sound."""
    with saying(f"Verifying {store}"):
        damages = verification.verify(store)
    if damages:
        raise StoreDamaged(f"{store} is damaged: {'; '.join(map(str, damages))}. Run `pixelmill repair {store}`.")
    return len(Store(store))


@task(name="compact", cache_policy=NO_CACHE)
def compact_store(store: Path, keep_generations: int) -> Compaction:
    """Merge small parts, drop old generations; what was done."""
    with saying(f"Compacting {store}"), StoreWriter(store) as writer:
        return compaction.compact(writer, keep_generations=keep_generations)
