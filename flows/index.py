"""Bring the approximate indexes for search level with a store: add what is new, make what is not there."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows._streams import outlive_worker
from settings import load_settings
from tasks.index import list_models, update_index


@flow(name="index")
def index(store: str | None = None, models: list[str] | None = None, config: str | None = None) -> dict[str, float]:
    """Add to each model's index the vectors that came since; the recall at ten that was measured, by model.

    Args:
        store: The store's folder. Default: from the settings.
        models: Models whose vectors are searched. Default: all that the store serves.
        config: A settings file other than pixelmill.toml.
    """
    outlive_worker()
    folder = load_settings(Path(config) if config else None, {"run": {"store": store}}).run.store
    return {model: update_index(folder, model) for model in models or list_models(folder)}
