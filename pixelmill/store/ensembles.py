"""Ensembles that a store keeps under a name: which models side by side, and how much each counts. No vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.errors import StoreError
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Manifest, NamedEnsemble
from pixelmill.store.master import publish
from pixelmill.store.reader import Store


def keep(
    writer: StoreWriter, name: str, models: Sequence[str], weights: Sequence[float] | None = None
) -> NamedEnsemble:
    """Keep an ensemble of models that the store serves under a name, in place of one that had it.

    Raises UnknownModel for a model without vectors here, StoreError for a name that a model has, or that is no name
    (letters, digits, `_`, `.` and `-`), and for weights that are not positive, one for each model.
    """
    kept = NamedEnsemble(
        name=name, models=tuple(models), weights=tuple(weights if weights is not None else [1.0] * len(models))
    )
    writer.in_turn(lambda manifest: _keep(writer, manifest, kept))
    return kept


def _keep(writer: StoreWriter, manifest: Manifest, kept: NamedEnsemble) -> None:
    store = Store(writer.folder, manifest)
    store.concatenated(kept.models, weights=kept.weights)
    if len(set(kept.models)) < max(2, len(kept.models)):
        raise StoreError(f"Expected two models or more, each named once. Got {', '.join(kept.models)}.")
    if kept.name in store.models:
        raise StoreError(f"Expected a name that no model has. {kept.name!r} is one.")
    others = [ensemble for ensemble in manifest.ensembles if ensemble.name != kept.name]
    publish(writer.folder, manifest.with_ensembles([*others, kept]))


def drop(writer: StoreWriter, name: str) -> None:
    """Forget an ensemble; the vectors stay. Raises StoreError where there is none of that name."""
    writer.in_turn(lambda manifest: _drop(writer, manifest, name))


def _drop(writer: StoreWriter, manifest: Manifest, name: str) -> None:
    others = tuple(ensemble for ensemble in manifest.ensembles if ensemble.name != name)
    if len(others) == len(manifest.ensembles):
        known = ", ".join(ensemble.name for ensemble in manifest.ensembles) or "none"
        raise StoreError(f"Expected an ensemble of {writer.folder}. Got {name!r}. There are: {known}.")
    publish(writer.folder, manifest.with_ensembles(others))
