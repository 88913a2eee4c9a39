"""Tasks of the flow `maintain`."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.errors import StoreDamaged
from pixelmill.store import compact as compaction
from pixelmill.store import verify as verification
from pixelmill.store.commit import StoreWriter


@task(name="verify", cache_policy=NO_CACHE)
def verify_store(store: Path) -> None:
    """Raise StoreDamaged, naming files and rows, unless the store is sound."""
    damages = verification.verify(store)
    if damages:
        raise StoreDamaged(f"{store} is damaged: {'; '.join(map(str, damages))}. Run `pixelmill repair {store}`.")


@task(name="compact", cache_policy=NO_CACHE)
def compact_store(store: Path, keep_generations: int) -> dict[str, int]:
    """Merge small parts, drop old generations; how many parts before and after, files deleted, generations dropped."""
    with StoreWriter(store) as writer:
        done = compaction.compact(writer, keep_generations=keep_generations)
    return {
        "parts_before": done.parts_before, "parts_after": done.parts_after, "deleted": done.deleted,
        "dropped": len(done.dropped),
    }  # fmt: skip
