"""Bring the approximate indexes for search level with a store: add what is new, make what is not there."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows._begin import begin
from flows._ends import ended
from flows._labels import label_store_run, store_run_name
from pixelmill.report.upkeep import indexed, no_store
from pixelmill.search.ann import Indexed
from pixelmill.store.creation import is_missing
from pixelmill.version import VERSION
from settings import load_settings
from tasks._artifacts import show_words
from tasks.index import list_models, update_index


@flow(name="index", version=VERSION, flow_run_name=store_run_name)
def index(store: str | None = None, models: list[str] | None = None, config: str | None = None) -> dict[str, float]:
    """Add to each model's index the vectors that came since; the recall at ten that was measured, by model.

    A model with so few vectors that an index is of no use has none, nor has any where faiss is not installed: searches
    compare all vectors.

    Args:
        store: The store's folder. Default: from the settings.
        models: Models whose vectors are searched. Default: all that the store serves.
        config: A settings file other than pixelmill.toml.
    """
    begin()
    folder = load_settings(Path(config) if config else None, {"run": {"store": store}}).run.store
    label_store_run(folder)
    if is_missing(folder):
        return ended({}, no_store(folder))
    done = {model: update_index(folder, model) for model in models or list_models(folder)}
    message = indexed(done)
    show_words("index", folder, message)
    return ended({model: found.recall for model, found in done.items() if isinstance(found, Indexed)}, message)
