"""Look after a store: check every part, merge small ones, delete what nobody reads any more."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows._begin import begin
from flows._ends import ended
from flows._labels import label_store_run, store_run_name
from pixelmill.report.upkeep import maintained, no_store
from pixelmill.store.creation import is_missing
from pixelmill.version import VERSION
from settings import load_settings
from tasks._artifacts import show_words
from tasks.maintain import compact_store, verify_store


@flow(name="maintain", version=VERSION, flow_run_name=store_run_name)
def maintain(store: str | None = None, config: str | None = None) -> dict[str, int]:
    """Verify a store, then compact it. Fails, touching nothing, when the store is damaged.

    Args:
        store: The store's folder. Default: from the settings.
        config: A settings file other than pixelmill.toml.
    """
    begin()
    run = load_settings(Path(config) if config else None, {"run": {"store": store}}).run
    label_store_run(run.store)
    if is_missing(run.store):
        return ended({}, no_store(run.store))
    images = verify_store(run.store)
    done = compact_store(run.store, run.keep_generations)
    message = maintained(images, done)
    show_words("maintain", run.store, message)
    counts = {"parts_before": done.parts_before, "parts_after": done.parts_after, "deleted": done.deleted}
    return ended({**counts, "dropped": len(done.dropped)}, message)
