"""Look after a store: check every part, merge small ones, delete what nobody reads any more."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows._streams import outlive_worker
from settings import load_settings
from tasks.maintain import compact_store, verify_store


@flow(name="maintain")
def maintain(store: str | None = None, config: str | None = None) -> dict[str, int]:
    """Verify a store, then compact it. Fails, touching nothing, when the store is damaged.

    Args:
        store: The store's folder. Default: from the settings.
        config: A settings file other than pixelmill.toml.
    """
    outlive_worker()
    run = load_settings(Path(config) if config else None, {"run": {"store": store}}).run
    verify_store(run.store)
    return compact_store(run.store, run.keep_generations)
