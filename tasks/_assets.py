"""What a run makes, as assets of Prefect: which there are, what they hold, what they were made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.types.names import MAX_ASSET_KEY_LENGTH, RESTRICTED_ASSET_CHARACTERS

from pixelmill.formatting import printable
from pixelmill.report.model import RunReport
from pixelmill.sources.address import is_address, shown
from pixelmill.store.manifest import Matrix

_HARMLESS = str.maketrans(dict.fromkeys(RESTRICTED_ASSET_CHARACTERS, "_"))


def materialized(made: Mapping[Asset, Mapping[str, Any]], of: Iterable[str] = ()) -> None:
    """Tell Prefect of assets that are made anew, each with its metadata, and of the keys of what they were made of."""
    if not made:
        return
    known: list[str | Asset] = [key for key in of if len(key) <= MAX_ASSET_KEY_LENGTH]

    @materialize(*made, by="pixelmill", asset_deps=known, name="assets", cache_policy=NO_CACHE)
    def tell() -> None:
        for asset, metadata in made.items():
            add_asset_metadata(asset, dict(metadata))

    tell()


def matrices(report: RunReport, served: Sequence[Matrix], rows: int, run: str | None) -> dict[Asset, dict[str, Any]]:
    """The matrices that a run changed, with their counts; `rows` are those of the store, `run` is where it is shown."""
    images = report.images
    is_other = any((images.new, images.changed, images.moved, images.duplicate, images.removed))
    changed = {
        name: model for name, model in report.models.items()
        if model.embedded or (is_other and model.dataset in report.coverage)
    }  # fmt: skip
    fingerprints = {matrix.published_name: matrix.provenance.fingerprint for matrix in served}
    return {
        Asset(
            key=asset_key(report.store, name, scheme="pixelmill"),
            properties=AssetProperties(name=name, url=run, description=f"Embeddings by {name} in {report.store}"),
        ): {
            "store": report.store, "rows": rows, "dim": model.dim, "embedded": model.embedded, "pending": model.pending,
            "quarantined": model.quarantined, "coverage": report.coverage.get(model.dataset),
            "dataset": model.dataset, "fingerprint": fingerprints.get(model.dataset),
        }
        for name, model in changed.items()
    }  # fmt: skip


def asset_key(place: str, *parts: str, scheme: str = "file") -> str:
    """The key of a source's or a store's asset, or of one in it: an address as it may be shown, a path behind a scheme.
    What Prefect takes in no key becomes `_`."""
    place = place.removeprefix("@")
    address = shown(place).rstrip("/") if is_address(place) else f"{scheme}://{Path(place).absolute()}"
    return printable("/".join([address, *parts])).translate(_HARMLESS)
