"""The generations of a model in a store: which is served, being filled or old, and what sets them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pixelmill.store.manifest import Manifest, Matrix

State = Literal["serving", "filling", "old"]
_SAID_BY_ITSELF = {"fingerprint", "model", "normalized"}


def of_model(manifest: Manifest, model: str) -> list[Matrix]:
    """The model's generations; the last is the one that runs continue."""
    return [matrix for matrix in manifest.matrices if matrix.provenance.model == model]


def state(manifest: Manifest, matrix: Matrix) -> State:
    """What a generation is for: searched, to be searched once it is complete, or only kept."""
    if matrix.serving:
        return "serving"
    return "filling" if matrix is of_model(manifest, matrix.provenance.model)[-1] else "old"


def with_last(manifest: Manifest, fingerprint: str) -> Manifest:
    """The manifest with the generation named as the last of its model; itself if it is."""
    chosen = manifest.matrix(fingerprint)
    if chosen is None or of_model(manifest, chosen.provenance.model)[-1] is chosen:
        return manifest
    others = tuple(matrix for matrix in manifest.matrices if matrix is not chosen)
    return manifest.model_copy(update={"matrices": (*others, chosen)})


def with_matrix(manifest: Manifest, matrix: Matrix) -> Manifest:
    """The manifest with a matrix begun, empty, as the last generation of its model; served if it is the first."""
    begun = matrix.model_copy(update={"extents": (), "serving": manifest.serving(matrix.provenance.model) is None})
    return manifest.model_copy(update={"matrices": (*manifest.matrices, begun)})


def with_serving(manifest: Manifest, ready: Sequence[Matrix]) -> Manifest:
    """The manifest with each of `ready` served in place of the generation that its model served."""
    models = {matrix.provenance.model for matrix in ready}
    matrices = tuple(
        m.model_copy(update={"serving": m in ready}) if m.provenance.model in models else m for m in manifest.matrices
    )
    return manifest.model_copy(update={"matrices": matrices})


def old(manifest: Manifest, keep: int) -> list[Matrix]:
    """The old generations of each model but for the latest `keep` of them."""
    models = {matrix.provenance.model for matrix in manifest.matrices}
    found: list[Matrix] = []
    for model in models:
        before = [matrix for matrix in of_model(manifest, model) if state(manifest, matrix) == "old"]
        found += before[: max(len(before) - keep, 0)]
    return found


def story(manifest: Manifest) -> Iterator[str]:
    """A line for each generation of a model that has several, in the order in which they began."""
    for model in dict.fromkeys(matrix.provenance.model for matrix in manifest.matrices):
        matrices = of_model(manifest, model)
        for number, matrix in enumerate(matrices, 1):
            if len(matrices) > 1:
                told = _words(state(manifest, matrix))
                changed = _differences(matrices[number - 2], matrix) if number > 1 else ""
                yield f"{model}, generation {number} of {len(matrices)} ({matrix.key}): {told}{changed}"


def _words(of: State) -> str:
    return {
        "serving": "served",
        "filling": "being filled, takes over once it covers what is served",
        "old": "old, no longer filled; `pixelmill compact --keep-generations 0` drops it",
    }[of]


def _differences(before: Matrix, after: Matrix) -> str:
    a, b = before.provenance.model_dump(), after.provenance.model_dump()
    versions = [
        f"{name} {a['versions'].get(name, 'none')} -> {version}"
        for name, version in b["versions"].items()
        if a["versions"].get(name) != version
    ]
    fields = [name for name in b if name not in _SAID_BY_ITSELF | {"versions", "generation"} and a[name] != b[name]]
    changes = [*(f"{name} {_short(a[name])} -> {_short(b[name])}" for name in fields), *versions]
    if b.get("generation", 1) != a.get("generation", 1) and not fields:
        changes.insert(0, "other vectors from the same weights")
    return f"; differs in {', '.join(changes)}" if changes else ""


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
