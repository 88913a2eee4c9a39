"""What a run is called, and tagged with, in the Prefect UI: what it looks at, and with which models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows._run_names import is_made_up
from pixelmill.run.job import Job

_MOST = 3
"""How many names are said; the rest is counted."""


def run_name() -> str:
    """A run's name by its parameters alone, before the settings are read; one that somebody chose stays."""
    return _chosen() or _by_parameters()


def store_run_name() -> str:
    """The name of a run that looks after a store, before the settings are read; one that somebody chose stays."""
    return _chosen() or _by_store(flow_run.parameters.get("store"))


def label_run(job: Job, *, dry_run: bool) -> None:
    """Name and tag this flow run by its sources' and models' names; the UI filters by tags. A name that somebody chose
    stays."""
    models = [spec.name for spec in job.specs]
    _label(_by_parameters(), _name(job.sources, models, dry_run), [*map(_short, job.sources), *models])


def label_store_run(store: Path) -> None:
    """Name and tag this flow run by its store's name. A name that somebody chose stays."""
    _label(_by_store(flow_run.parameters.get("store")), _by_store(store), [_short(os.fspath(store))])


def _label(begun_as: str, name: str, tags: Iterable[str]) -> None:
    """A run that is not called what it was begun as has a name that somebody chose."""
    name = name if flow_run.name == begun_as else flow_run.name
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), name=name, tags=list(dict.fromkeys([*flow_run.tags, *tags])))


def _chosen() -> str:
    """The name that this run was given; '' for one that is made up."""
    return "" if is_made_up(flow_run.name) else flow_run.name


def _by_parameters() -> str:
    given = flow_run.parameters
    sources, models = given.get("sources") or ["the settings' sources"], given.get("models") or []
    return _name(sources, models, bool(given.get("dry_run")))


def _by_store(store: str | Path | None) -> str:
    """As "maintain photos-store"."""
    return f"{flow_run.flow_name} {_short(os.fspath(store)) if store else 'the store of the settings'}"


def _name(sources: Iterable[str], models: Sequence[str], dry_run: bool) -> str:
    name = _listed([_short(source) for source in sources])
    return name + (f" with {_listed(models)}" if models else "") + (" (dry run)" if dry_run else "")


def _listed(names: Sequence[str]) -> str:
    """As "a, b, c and 4 more"."""
    more = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _short(source: str) -> str:
    """The last part of a path or an address: a folder's name, as text that JSON can hold."""
    name = Path(source).absolute().name or source
    return os.fsencode(name).decode(errors="replace")
