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
from pixelmill.store.validate import ENDS, JOINED
from pixelmill.store.verify import repair, verify
from tests.support.golden import GOLDEN
from tests.support.stores import facts_group

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


def with_group(manifest: Manifest, **changes: object) -> Manifest:
    """The manifest with its first group of columns changed."""
    group, *others = manifest.columns
    return manifest.model_copy(update={"columns": (group.model_copy(update=changes), *others)})


def with_column(manifest: Manifest, **changes: object) -> Manifest:
    """The manifest with the first column of its first group changed."""
    column, *others = manifest.columns[0].columns
    return with_group(manifest, columns=(column.model_copy(update=changes), *others))


def with_values(manifest: Manifest, **changes: int | str) -> Manifest:
    """The manifest with the first extent of its first group of columns changed."""
    extent, *rest = manifest.columns[0].extents
    return with_group(manifest, extents=(extent._replace(**changes), *rest))  # type: ignore[arg-type]


def with_dataset(manifest: Manifest, name: str, **changes: object) -> Manifest:
    """The manifest with the layout of a dataset of columns in their part changed; without any it is not there."""
    group = next(g for g in manifest.columns if any(name.startswith(of) for of in g.names))
    part = manifest.parts[group.extents[0].part]
    arrays = {of: array for of, array in part.arrays.items() if of != name}
    if changes:
        arrays[name] = ArrayLayout(**{**part.arrays[name].model_dump(), **changes})
    return manifest.model_copy(
        update={"parts": {**manifest.parts, part.file: part.model_copy(update={"arrays": arrays})}}
    )


LIGHT, CAMERA = (facts_group().dataset(facts_group().columns[at]) for at in (0, 2))
OF_COLUMNS: dict[str, Lie] = {
    "columns in the second format": lambda m: m.model_copy(update={"format_version": 2}),
    "columns in the first format": lambda m: m.model_copy(update={"format_version": 1}),
    "columns of no name": lambda m: with_group(m, columns=()),
    "column of an empty name": lambda m: with_column(m, name=""),
    "column above the group": lambda m: with_column(m, name="../vectors"),
    "column inside another": lambda m: with_column(m, name="camera/inside"),
    "column called as its group": lambda m: with_column(m, name="."),
    "column of a long name": lambda m: with_column(m, name="x" * 65),
    "column with a zero byte": lambda m: with_column(m, name="a\0"),
    "unit with a zero byte": lambda m: with_column(m, unit="a\0"),
    "source with a zero byte": lambda m: with_group(m, source="a\0"),
    "two columns of one name": lambda m: m.with_columns([*m.columns, m.columns[0].model_copy(update={"version": "2"})]),
    "a group twice": lambda m: m.with_columns([*m.columns, m.columns[0].model_copy(update={"serving": False})]),
    "values before the first row": lambda m: with_values(m, row=-1),
    "values beyond the last row": lambda m: with_values(m, row=11),
    "values of no part": lambda m: with_values(m, offset=-1),
    "values beyond the part": lambda m: with_values(m, offset=10),
    "values in a part not listed": lambda m: with_values(m, part="0123456789abcdef.h5"),
    "values in the part of others": lambda m: with_values(m, part=m.identity[-1].part),
    "values twice": lambda m: with_group(m, extents=m.columns[0].extents * 2),
    "values of another version": lambda m: with_group(m, version="2"),
    "values of another kind": lambda m: with_column(m, kind="int64"),
    "texts for numbers": lambda m: with_column(m, kind="text"),
    "numbers of another type": lambda m: with_dataset(m, LIGHT, dtype="<i8"),
    "numbers of objects": lambda m: with_dataset(m, LIGHT, dtype="|O"),
    "numbers that are not there": lambda m: with_dataset(m, LIGHT),
    "numbers too few": lambda m: with_dataset(m, LIGHT, shape=(1,)),
    "numbers in a table": lambda m: with_dataset(m, LIGHT, shape=(3, 1)),
    "numbers beyond the file": lambda m: with_dataset(m, LIGHT, offset=10**6),
    "ends of texts too few": lambda m: with_dataset(m, CAMERA + ENDS, shape=(1,)),
    "ends of texts that are fractions": lambda m: with_dataset(m, CAMERA + ENDS, dtype="<f8"),
    "ends of texts that are not there": lambda m: with_dataset(m, CAMERA + ENDS),
    "bytes of texts that are numbers": lambda m: with_dataset(m, CAMERA + JOINED, dtype="<f4"),
    "bytes of texts that are not there": lambda m: with_dataset(m, CAMERA + JOINED),
    "bytes of texts beyond the file": lambda m: with_dataset(m, CAMERA + JOINED, shape=(10**9,)),
    "flags that are wide": lambda m: with_dataset(m, facts_group().embedded, dtype="<i4"),
    "flags that are not there": lambda m: with_dataset(m, facts_group().embedded),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "v1" / "store", tmp_path / "store"))


@pytest.fixture
def columns(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "v3" / "store", tmp_path / "columns"))


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_whatever_its_checksums(lie: str, store: Path) -> None:
    """A master and a copy with a lie, all checksums right: the reader raises, verify names the master, repair says what
    to restore; and no program publishes it."""
    check_refused(store, LIES[lie](Store(store).manifest))


@pytest.mark.parametrize("lie", OF_COLUMNS)
def test_a_lie_about_columns_is_refused_as_well(lie: str, columns: Path) -> None:
    """In the same words, by all of them."""
    check_refused(columns, OF_COLUMNS[lie](Store(columns).manifest))


def check_refused(store: Path, lying: Manifest) -> None:
    version = Store(store).manifest.format_version
    before = (store / "vectors.h5").read_bytes()
    with pytest.raises(StoreError, match="Nothing was published"):
        master.publish(store, lying)
    assert (store / "vectors.h5").read_bytes() == before
    body = master.sealed(lying)
    (store / "manifest.json").write_bytes(body)
    # As a master that holds nothing else: HDF5 does not take every lie.
    (store / "vectors.h5").write_bytes(master_file.header(body, lying.pixelmill_version, version) + body)
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


def test_the_truth_about_columns_is_published(columns: Path) -> None:
    """What the lies about columns alter is accepted as it is."""
    manifest = Store(columns).manifest
    layout = manifest.parts[manifest.columns[0].extents[0].part].arrays[LIGHT]
    assert with_column(with_values(with_dataset(manifest, LIGHT, offset=layout.offset))) == manifest
    assert with_group(manifest) == manifest
    assert master.publish(columns, manifest).rows == 12


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


def test_values_that_end_before_they_start_are_damage(columns: Path) -> None:
    """So are wrong lengths beside the texts of a column, which may be of any size."""
    manifest = Store(columns).manifest
    extent = manifest.columns[0].extents[0]
    path = columns / "parts" / extent.part
    whole = bytearray(path.read_bytes())
    at = manifest.parts[extent.part].arrays[CAMERA + ENDS].offset + 8 * extent.offset
    for value in (-1, 10**6, 2**62):
        path.write_bytes(whole[:at] + value.to_bytes(8, "little", signed=True) + whole[at + 8 :])
        with pytest.raises(StoreDamaged, match=f"{extent.part}.*rows {extent.row} to"):
            Store(columns).columns["camera"]
        assert {damage.file for damage in verify(columns)} == {f"parts/{extent.part}"}
