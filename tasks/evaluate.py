"""The task of the flow `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pixelmill.evaluation.evaluate import Asking, evaluate
from pixelmill.evaluation.kept import keep
from pixelmill.evaluation.told import Evaluation
from pixelmill.formatting import printable
from pixelmill.models.base import ModelSpec
from pixelmill.report.evaluation_plots import plots
from pixelmill.report.markdown import compared
from pixelmill.report.speeds import speeds_of
from pixelmill.run.job import CacheSpec
from pixelmill.search.searcher import Searcher
from pixelmill.store.reader import Store
from pixelmill.watch.saying import saying
from tasks._artifacts import show_text


@task(name="compare", cache_policy=NO_CACHE)
def compare_models(folder: Path, asking: Asking, find: Callable[[str], ModelSpec], cache: CacheSpec) -> Evaluation:
    """Models of a store compared; it is also an artifact of the flow run, with plots. Models that know words are had by
    `find`, from the cache."""
    store = Store(folder)
    searcher = Searcher(store, find=find, cache=cache.open(), asks=True)
    at_work: list[str] = []
    with saying("Comparing models", lambda: at_work[-1] if at_work else ""):
        told = evaluate(store, asking, texts=searcher.encoder, speeds=speeds_of(store), tell=at_work.append)
    for problem in keep(folder, told):
        get_run_logger().warning(printable(problem))
    show_text("evaluate", folder, compared(told, list(plots(told))))
    return told
