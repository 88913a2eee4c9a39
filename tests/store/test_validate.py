"""A manifest that somebody sealed need not be true: what cannot be is refused before anything is read by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store import master, master_file
from pixelmill.store.extents import Extent
from pixelmill.store.manifest import ArrayLayout, Manifest, NamedEnsemble, Part, Retired
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.golden import GOLDEN

Lie = Callable[[Manifest], Manifest]


def first_part(manifest: Manifest) -> Part:
    return manifest.parts[manifest.identity[0].part]


def renamed(manifest: Manifest, name: str) -> Manifest:
    """The manifest with its first part, everywhere, under another name."""
    old = first_part(manifest).file

    def moved(extents: tuple[Extent, ...]) -> tuple[Extent, ...]:
        return tuple(e._replace(part=name) if e.part == old else e for e in extents)

    parts = {**manifest.parts, name: manifest.parts[old].model_copy(update={"file": name})}
    del parts[old]
    matrices = tuple(m.model_copy(update={"extents": moved(m.extents)}) for m in manifest.matrices)
    return manifest.model_copy(
        update={
            "parts": parts, "matrices": matrices, "identity": moved(manifest.identity), "location": moved(manifest.location),
        }
    )  # fmt: skip


def with_extent(manifest: Manifest, **changes: int | str) -> Manifest:
    """The manifest with its first matrix's first extent changed."""
    matrix, *others = manifest.matrices
    extent, *rest = matrix.extents
    changed = matrix.model_copy(update={"extents": (extent._replace(**changes), *rest)})  # type: ignore[arg-type]
    return manifest.model_copy(update={"matrices": (changed, *others)})


def with_array(manifest: Manifest, **changes: object) -> Manifest:
    """The manifest with the layout of its first matrix in its first part changed."""
    part = manifest.parts[manifest.matrices[0].extents[0].part]
    name = manifest.matrices[0].vectors
    array = ArrayLayout(**{**part.arrays[name].model_dump(), **changes})
    changed = part.model_copy(update={"arrays": {**part.arrays, name: array}})
    return manifest.model_copy(update={"parts": {**manifest.parts, part.file: changed}})


def with_provenance(manifest: Manifest, which: int = 0, **changes: object) -> Manifest:
    """The manifest with what made one of its matrices changed."""
    matrices = list(manifest.matrices)
    made = matrices[which].provenance.model_copy(update=changes)
    matrices[which] = matrices[which].model_copy(update={"provenance": made})
    return manifest.model_copy(update={"matrices": tuple(matrices)})


def with_part(manifest: Manifest, **changes: object) -> Manifest:
    part = first_part(manifest)
    return manifest.model_copy(update={"parts": {**manifest.parts, part.file: part.model_copy(update=changes)}})


def kept(name: str = "both", weights: tuple[float, ...] = (1.0, 1.0)) -> NamedEnsemble:
    return NamedEnsemble(name=name, models=("a", "b"), weights=weights)


LIES: dict[str, Lie] = {
    "part above the store": lambda m: renamed(m, "../outside.h5"),
    "part anywhere": lambda m: renamed(m, "/etc/hostname"),
    "part hidden": lambda m: renamed(m, ".lock"),
    "part with a zero byte": lambda m: renamed(m, "a\0.h5"),
    "part listed as another": lambda m: with_part(m, file="other.h5"),
    "part of no size": lambda m: with_part(m, bytes=0),
    "part in use and retired": lambda m: m.model_copy(update={"retired": (Retired(file=first_part(m).file, at=0),)}),
    "retired above the store": lambda m: m.model_copy(update={"retired": (Retired(file="../../x", at=0),)}),
    "part not listed": lambda m: with_extent(m, part="0123456789abcdef.h5"),
    "rows before the first": lambda m: with_extent(m, row=-1),
    "rows twice": lambda m: with_extent(m, rows=9),
    "rows beyond the end": lambda m: m.model_copy(update={"rows": m.rows - 1}),
    "rows without identity": lambda m: m.model_copy(update={"rows": m.rows + 1}),
    "rows without number": lambda m: m.model_copy(update={"rows": 10**30}),
    "rows of no part": lambda m: with_extent(m, offset=-1),
    "rows beyond the part": lambda m: with_extent(m, offset=5),
    "array before the part": lambda m: with_array(m, offset=-1),
    "array beyond the part": lambda m: with_array(m, offset=10**6),
    "array of another type": lambda m: with_array(m, dtype="<i4"),
    "array of objects": lambda m: with_array(m, dtype="|O"),
    "array of no type": lambda m: with_array(m, dtype="what"),
    "array of another width": lambda m: with_array(m, shape=(8, 4)),
    "array of many axes": lambda m: with_array(m, shape=(8, 3, 1)),
    "array of no axis": lambda m: with_array(m, shape=()),
    "array of negative length": lambda m: with_array(m, shape=(-8, 3)),
    "two matrices of one name": lambda m: m.model_copy(update={"matrices": (*m.matrices, m.matrices[0])}),
    "another format": lambda m: m.model_copy(update={"format": "other"}),
    "two matrices, one inside the other": lambda m: with_provenance(
        m, 1, model=m.matrices[0].provenance.model + "/inside"
    ),
    "format beyond 64 bits": lambda m: m.model_copy(update={"format_version": 10**30}),
    "revision beyond 64 bits": lambda m: m.model_copy(update={"revision": 10**30}),
    "revision before the first": lambda m: m.model_copy(update={"revision": -2}),
    "image of a size beyond 64 bits": lambda m: with_provenance(m, image_size=10**30),
    "image of no size": lambda m: with_provenance(m, resize=0),
    "dims beyond 64 bits": lambda m: with_provenance(m, dim=10**30),
    "mean that is no number": lambda m: with_provenance(m, mean=(0.0, float("nan"), 0.0)),
    "text with a zero byte": lambda m: with_provenance(m, architecture="a\0b"),
    "retired at no time": lambda m: m.model_copy(update={"retired": (Retired(file="x.h5", at=float("inf")),)}),
    "ensembles in the first format": lambda m: m.model_copy(update={"ensembles": (kept(),), "format_version": 1}),
    "ensemble without a name": lambda m: m.with_ensembles([kept(name="")]),
    "ensemble inside another group": lambda m: m.with_ensembles([kept(name="../a")]),
    "two ensembles of one name": lambda m: m.with_ensembles([kept(), kept()]),
    "ensemble with too few weights": lambda m: m.with_ensembles([kept(weights=(1.0,))]),
    "ensemble with a weight that is no number": lambda m: m.with_ensembles([kept(weights=(1.0, float("nan")))]),
    "format before the first": lambda m: m.model_copy(update={"format_version": 0}),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "v1" / "store", tmp_path / "store"))


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_whatever_its_checksums(lie: str, store: Path) -> None:
    """A master and a copy with a lie, all checksums right: the reader raises, verify names the master, repair says what
    to restore; and no program publishes it."""
    lying = LIES[lie](Store(store).manifest)
    before = (store / "vectors.h5").read_bytes()
    with pytest.raises(StoreError, match="Nothing was published"):
        master.publish(store, lying)
    assert (store / "vectors.h5").read_bytes() == before
    body = master.sealed(lying)
    (store / "manifest.json").write_bytes(body)
    # As a master that holds nothing else: HDF5 does not take every lie.
    (store / "vectors.h5").write_bytes(master_file.header(body, lying.pixelmill_version, 1) + body)
    with pytest.raises(StoreDamaged, match=r"cannot be read \(.+\)"):
        Store(store)
    assert [damage.file for damage in verify(store)] == ["vectors.h5"]
    with pytest.raises(StoreDamaged, match="backup"):
        repair(store)


def test_the_truth_is_published(store: Path) -> None:
    """What the test above alters is accepted as it is, and by the same way of writing it."""
    manifest = Store(store).manifest
    assert renamed(renamed(manifest, "other.h5"), first_part(manifest).file) == manifest
    assert with_array(with_extent(manifest)) == manifest
    assert with_provenance(manifest) == manifest
    body = master.sealed(manifest)
    (store / "vectors.h5").write_bytes(master_file.header(body, manifest.pixelmill_version, 1) + body)
    assert Store(store).manifest == manifest
    assert master.publish(store, manifest).rows == 12


def test_texts_that_end_before_they_start_are_damage(store: Path) -> None:
    """Wrong lengths beside the paths are told with file and rows, and never cut a path out of others."""
    manifest = Store(store).manifest
    extent = manifest.location[0]
    part = manifest.parts[extent.part]
    path = store / "parts" / part.file
    whole = bytearray(path.read_bytes())
    at = part.arrays["images/path:ends"].offset + 8 * extent.offset
    for value in (-1, 10**6, 2**62):
        path.write_bytes(whole[:at] + value.to_bytes(8, "little", signed=True) + whole[at + 8 :])
        with pytest.raises(StoreDamaged, match=f"{part.file}.*rows {extent.row} to"):
            _ = Store(store).paths
