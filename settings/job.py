"""From settings and sources to one run's job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from pixelmill import catalog
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import SettingsError, UnknownModel, nearest
from pixelmill.joining.table import Table
from pixelmill.models.base import ModelSpec
from pixelmill.paths import local_source
from pixelmill.run.job import CacheSpec, Job, Worker
from settings.deliveries import DeliverySettings
from settings.heads import as_heads
from settings.models import OwnModel
from settings.root import Settings, problems
from settings.run import parse_deadline


def make_job(
    settings: Settings, sources: Sequence[str] = (), specs: Mapping[str, ModelSpec] | None = None, *,
    due_from: datetime | None = None,
) -> Job:  # fmt: skip
    """The job of a run over `sources`, or those of the settings; `specs` are models that need not be looked for. Its
    deadline counts from `due_from`, by default from now. Raises UnknownModel, or SettingsError when sources, models or
    workers are missing or named twice."""
    run, names = settings.run, settings.run.models
    sources = sources or run.sources
    if not names or len(set(names)) != len(names):
        raise SettingsError(f"Expected one or more models, each named once. Got {', '.join(names) or 'none'}.")
    if not sources:
        raise SettingsError(
            "Expected at least one SOURCE: a file, a folder, @list.txt, an address; or `sources` under [run]. Got none."
        )
    workers = [worker.name for worker in settings.workers]
    if len(set(workers)) != len(workers) or (run.fan_out == "workers" and not workers):
        got = ", ".join(workers) or "none"
        raise SettingsError(f'Expected [[workers]] for fan_out = "workers", each with a name of its own. Got {got}.')
    return Job(
        sources=_sources(sources),
        store=run.store,
        specs=tuple((specs or {}).get(name) or find_model(settings, name) for name in names),
        cache=make_cache(settings),
        devices={name: own.device for name, own in settings.models.items() if own.device},
        workers=tuple(Worker(**worker.model_dump()) for worker in settings.workers),
        tables=tuple(Table(**table.model_dump()) for table in settings.tables),
        heads=as_heads(settings.heads),
        deliveries=tuple(Delivery(**one.model_dump()) for one in settings.deliveries),
        gallery=settings.web.url,
        deadline=_deadline(run.deadline, due_from),
        **run.options,
        **settings.images.model_dump(),
    )


def _deadline(text: str | None, due_from: datetime | None) -> float | None:
    if not text:
        return None
    begins = (due_from or datetime.now()).astimezone()
    if ":" in text:
        begins = begins.replace(tzinfo=None)  # by the clock, which may be put forward or back in the night
    return parse_deadline(text, begins).timestamp()


def _sources(sources: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(map(local_source, sources))
    except ValueError as error:
        raise SettingsError(f"{error}.") from error


def make_cache(settings: Settings) -> CacheSpec:
    """Where these settings keep weights and fetch them from."""
    weights = settings.weights
    named = "cache_dir" in weights.model_fields_set  # else each machine has its own
    return CacheSpec(
        cache_dir=weights.cache_dir.absolute() if named else None, mirrors=weights.mirrors, offline=weights.offline
    )


def find_model(settings: Settings, name: str) -> ModelSpec:
    """The model called `name`: one of the settings' own, of the hub, of the catalog, or beyond it."""
    own = settings.models.get(name)
    if own is not None:
        return _own(name, own)
    if name.startswith("hf-hub:"):
        from pixelmill.models.hub import hub_spec

        return hub_spec(name, make_cache(settings).open())
    try:
        return catalog.get(name)
    except UnknownModel as error:
        hint = nearest(name, settings.models)
        raise UnknownModel(f"{error}{hint and ' In the settings:' + hint}") from error


def own_model(name: str, given: Mapping[str, Any]) -> ModelSpec:
    """The model that `[models.NAME]` would be with these values. Raises SettingsError."""
    try:
        return _own(name, OwnModel.model_validate(given))
    except ValidationError as error:
        raise SettingsError(f"The model {name!r}: " + " ".join(problems(error))) from error


def own_delivery(given: Mapping[str, Any]) -> DeliverySettings:
    """The delivery that `[[deliveries]]` would be with these values. Raises SettingsError."""
    try:
        return DeliverySettings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(f"The delivery {given['name']!r}: " + " ".join(problems(error))) from error


def _own(name: str, own: OwnModel) -> ModelSpec:
    from pixelmill.models.own import own_spec

    return own_spec(name, **own.model_dump(exclude={"device"}))
