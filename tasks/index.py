"""Tasks of the flow `index`."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.errors import NoIndex
from pixelmill.search import ann
from pixelmill.store.reader import Store
from pixelmill.watch.saying import saying

log = logging.getLogger("pixelmill.index")


@task(name="list models", cache_policy=NO_CACHE)
def list_models(store: Path) -> list[str]:
    """The models that a store serves."""
    return Store(store).models


@task(name="update index", cache_policy=NO_CACHE, task_run_name="index {model}")
def update_index(store: Path, model: str) -> ann.Indexed | NoIndex:
    """The model's index, once it holds all vectors that are there now; or why there is none."""
    try:
        with saying(f"Adding to the index of {model}"):
            done = ann.update_index(store, model)
    except NoIndex as reason:
        log.info("model=%s no index: %s", model, reason)
        return reason
    log.info("model=%s rows=%d added=%d anew=%s recall=%.3f", model, done.rows, done.added, done.anew, done.recall)
    return done
