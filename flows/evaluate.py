"""Compare the models of a store on its own pictures; what `pixelmill evaluate` tells, as an artifact."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows._begin import begin
from flows._ends import ended
from flows._labels import label_store_run, store_run_name
from pixelmill.evaluation.evaluate import Asking
from pixelmill.formatting import printable
from pixelmill.report.evaluation import verdicts
from pixelmill.report.upkeep import no_store
from pixelmill.store.creation import is_missing
from pixelmill.version import VERSION
from settings import load_settings
from settings.job import find_model, make_cache
from tasks.evaluate import compare_models


@flow(name="evaluate", version=VERSION, flow_run_name=store_run_name)
def evaluate(
    labels: str,
    models: list[str] | None = None,
    where: str | None = None,
    most: int = 20_000,
    store: str | None = None,
    config: str | None = None,
) -> dict[str, Any]:
    """Which model is best on one's own pictures, by how well their vectors tell labels apart; as `evaluate --json`.

    Args:
        labels: A column of the store, or `folder`: the folder that a picture lies in.
        models: Models, kept ensembles, or models side by side, as A+B. Default: all that the store has.
        where: A condition in SQL that pictures have to fulfil.
        most: Pictures that are compared, at most.
        store: The store's folder. Default: from the settings.
        config: A settings file other than pixelmill.toml.
    """
    begin()
    settings = load_settings(Path(config) if config else None, {"run": {"store": store}})
    folder = settings.run.store
    label_store_run(folder)
    if is_missing(folder):
        return ended({}, no_store(folder))
    asking = Asking(labels, tuple(models or ()), where, most)
    told = compare_models(folder, asking, partial(find_model, settings), make_cache(settings))
    return ended(told.model_dump(mode="json"), printable(" ".join(verdicts(told))))
