"""Settings as they count for what is called from Python; the program that calls may have a `settings` of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pixelmill.beside import ROOT, Ours
from pixelmill.paths import local_path

if TYPE_CHECKING:
    from pixelmill.api.names import AnyPath
    from pixelmill.deliver.delivery import Delivery
    from pixelmill.models.base import ModelSpec
    from pixelmill.models.weights import WeightsCache
    from pixelmill.run.job import Job
    from settings import Settings

_guard = threading.Lock()


def settings_of(config: AnyPath | None, **groups: Mapping[str, Any]) -> Settings:
    """Arguments, by group; below them PIXELMILL_… variables; below them the file that is named. What is None does not
    count."""
    found: Settings = _ours().load_settings(local_path(config) if config is not None else None, groups, here=False)
    return found


def find_model(settings: Settings, name: str) -> ModelSpec:
    """The model called `name`: one of the settings' own, of the hub, of the catalog, or beyond it."""
    found: ModelSpec = _ours().job.find_model(settings, name)
    return found


def own_spec(name: str, **given: Any) -> ModelSpec:
    """The model that `[models.NAME]` would be."""
    found: ModelSpec = _ours().job.own_model(name, given)
    return found


def make_job(settings: Settings, sources: Sequence[str], specs: Mapping[str, ModelSpec]) -> Job:
    """The job of a run over `sources`; `specs` are models that need not be looked for."""
    job: Job = _ours().job.make_job(settings, sources, specs)
    return job


def one_delivery(settings: Settings, name: str, given: Mapping[str, Any] | None) -> Delivery:
    """The delivery that `[[deliveries]]` would be with these values; None: that of the settings of this name."""
    deliveries = settings.deliveries if given is None else (_ours().job.own_delivery({"name": name, **given}),)
    delivery: Delivery
    (delivery,) = _ours().deliveries.chosen(deliveries, (name,))
    return delivery


def open_cache(settings: Settings) -> WeightsCache:
    """Where these settings keep weights, and fetch them from."""
    opened: WeightsCache = _ours().job.make_cache(settings).open()
    return opened


def finder(settings: Settings, given: Mapping[str, ModelSpec]) -> Callable[[str], ModelSpec]:
    """Finds the spec of a model: one that was `given`, of the settings, the catalog or beyond it."""
    return lambda name: given.get(name) or find_model(settings, name)


def _ours() -> Any:
    with _guard:
        return _imported()


@cache
def _imported() -> ModuleType:
    """Pixelmill's own package `settings`. Unless it goes by that name already, the name is given back."""
    there = sys.modules.get("settings")
    if there is not None and str(getattr(there, "__file__", "")).startswith(str(ROOT)):
        import settings.job

        return settings
    theirs = _taken_out()
    sys.meta_path.insert(0, Ours)
    try:
        import settings.job

        return settings
    finally:
        sys.meta_path.remove(Ours)
        _taken_out()
        sys.modules.update(theirs)


def _taken_out() -> dict[str, ModuleType]:
    """What goes by the name `settings` now, which it does no longer."""
    names = [name for name in sys.modules if name.partition(".")[0] == "settings"]
    return {name: sys.modules.pop(name) for name in names}
