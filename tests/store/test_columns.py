"""Columns: what is known about pictures, filled as a matrix is or joined to rows, and read by plain h5py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelmill.errors import StoreError, StoreTooNew, UnknownColumn
from pixelmill.store import column_writer
from pixelmill.store.additions import facts_datasets
from pixelmill.store.column_writer import begin, drop, join, serve
from pixelmill.store.columns import MISSING_INT, ColumnGroup, Values
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import sealed
from pixelmill.store.master import publish
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.stores import (
    check_aligned,
    fact,
    facts_group,
    provenance,
    read_own,
    read_plain,
    record_files,
    shard_rows,
)


def joined(name: str, kind: str = "text") -> ColumnGroup:
    return ColumnGroup.model_validate({"source": "table", "version": "1", "columns": [{"name": name, "kind": kind}]})


def labels_of(rows: int) -> list[bytes]:
    return [f"Hündin {row % 3}".encode() if row % 4 else b"" for row in range(rows)]


def from_list(name: str, values: Sequence[object]) -> column_writer.JoinedValues:
    def of(start: int, stop: int) -> Mapping[str, Values]:
        return {name: list(values[start:stop])}  # type: ignore[dict-item]

    return of


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two commits, with one refused image."""
    with StoreWriter(tmp_path / "store") as writer:
        record_files(writer, range(8))
        matrix, group = writer.matrix(provenance("a"), "float32"), begin(writer, facts_group())
        writer.commit(shard_rows(range(5), [matrix], bad=[2], facts=group))
        writer.commit(shard_rows(range(5, 8), [matrix], facts=group))
    return tmp_path / "store"


def check(folder: Path) -> None:
    """Plain h5py and our reader agree, and all is aligned and sound."""
    plain, own = read_plain(folder), read_own(Store(folder))
    assert plain.keys() == own.keys()
    for name, values in plain.items():
        np.testing.assert_array_equal(values.reshape(own[name].shape), own[name], err_msg=name)
    check_aligned(plain)
    assert verify(folder) == []


def test_facts_are_read_by_plain_h5py(store: Path) -> None:
    """Each column has a value a row with what it is, and what is missing where a picture was refused."""
    check(store)
    with h5py.File(store / "vectors.h5") as file:
        light, taken, camera = (file[f"columns/{name}"] for name in ("light", "taken", "camera"))
        assert dict(light.attrs) == {"kind": "float64", "source": "test", "version": "1", "unit": "lm"}
        assert (light.dtype, taken.dtype) == (np.float64, np.int64)
        assert h5py.check_string_dtype(camera.dtype).encoding == "utf-8"
        assert np.isnan(light[2])
        assert (taken[2], camera[2]) == (MISSING_INT, b"")
        assert file.attrs["format_version"] == 3
        contents = [row.tobytes() for row in file["images/sha256"][:]]
        assert camera[7] == fact(contents[7], "camera")


def test_our_reader_gives_arrays_by_name(store: Path) -> None:
    """`columns[name]` is an array with a value a row, texts as str; a name that is none is told with the nearest."""
    columns = Store(store).columns
    assert list(columns) == ["light", "taken", "camera"]
    assert columns["light"].dtype == np.float64
    assert columns["camera"][0].startswith("Kamera ü")
    with pytest.raises(UnknownColumn, match=r"Got 'lihgt'\. Did you mean 'light'\?"):
        columns["lihgt"]


def test_columns_survive_compaction_and_repair(store: Path) -> None:
    """Merged parts and a rebuilt master show the same; of a damaged part the rest stays, and the lost values are
    missing."""
    before = read_plain(store)
    with StoreWriter(store) as writer:
        compact(writer, retention=0)
    assert len(Store(store).manifest.parts) == 1
    (store / "vectors.h5").unlink()
    repair(store)
    check(store)
    for name, values in read_plain(store).items():
        np.testing.assert_array_equal(values, before[name])


def test_a_damaged_part_costs_its_own_values(store: Path) -> None:
    """They are missing after `repair`, and can be committed again."""
    _, second = sorted(Store(store).manifest.parts, key=lambda n: (store / "parts" / n).stat().st_mtime_ns)
    (store / "parts" / second).write_bytes(b"no part")
    assert any("columns/light, columns/taken" in damage.dataset for damage in verify(store))
    repair(store)
    check(store)
    assert np.isnan(Store(store).columns["light"][5:]).all()
    with StoreWriter(store) as writer:
        matrix = writer.matrix(provenance("a"), "float32")
        writer.commit(shard_rows(range(5, 8), [matrix], facts=facts_group()))
    assert not np.isnan(Store(store).columns["light"][5:]).any()


def test_a_value_of_a_row_that_has_none_is_damage(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is told to have no facts and has some: that is nothing that a program writes, and is named by `verify`."""

    def unfilled(group: ColumnGroup, *given: object) -> dict[str, object]:
        return facts_datasets(group, *given) | {group.embedded: np.zeros(2, dtype=np.uint8)}  # type: ignore[arg-type]

    monkeypatch.setattr("pixelmill.store.additions.facts_datasets", unfilled)
    with StoreWriter(store) as writer:
        writer.commit(shard_rows([8, 9], [writer.matrix(provenance("a"), "float32")], facts=facts_group()))
    found = {damage.dataset: damage.rows for damage in verify(store)}
    assert found == dict.fromkeys(("columns/light", "columns/taken", "columns/camera"), ((8, 9), (9, 10)))


def test_committing_twice_changes_nothing(store: Path) -> None:
    """Values that a row has are not written over, nor counted as anything new."""
    revision = Store(store).manifest.revision
    with StoreWriter(store) as writer:
        matrix = writer.matrix(provenance("a"), "float32")
        done = writer.commit(shard_rows(range(5), [matrix], bad=[2], facts=facts_group()))
    assert done.manifest.revision == revision


def test_another_version_takes_over_when_it_covers_the_served_one(store: Path) -> None:
    """Values of two versions never share a column: the new ones are filled beside, served at once when all are there,
    and the old ones go."""
    with StoreWriter(store) as writer:
        group = begin(writer, facts_group("2"))
        writer.commit(shard_rows(range(5), [], bad=[2], facts=group))
        check(store)
        assert not serve(writer, group.fingerprint)
        assert Store(store).columns.about("light")[0].version == "1"
        writer.commit(shard_rows(range(5, 8), [], facts=group))
        assert serve(writer, group.fingerprint)
    check(store)
    assert [(g.version, g.serving) for g in Store(store).manifest.columns] == [("2", True)]
    content = Store(store).sha256()[0].tobytes()
    assert Store(store).columns["light"][0] == fact(content, "light", "2")


def test_joined_values_change_alone(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of rows is written anew for a column in which a value changed, and for no other; nothing changed writes
    nothing."""
    monkeypatch.setattr(column_writer, "JOINED_BLOCK", 4)
    label, values = joined("label"), labels_of(8)
    with StoreWriter(store) as writer:
        assert join(writer, [label], from_list("label", values)) == 6
        assert Store(store).columns["label"].tolist() == [value.decode() for value in values]
        revision, parts = Store(store).manifest.revision, set(Store(store).manifest.used_parts())
        assert join(writer, [label], from_list("label", values)) == 0
        assert Store(store).manifest.revision == revision
        values[6] = b"other"
        assert join(writer, [label], from_list("label", values), rows=[6]) == 1
    new = set(Store(store).manifest.used_parts()) - parts
    assert [Store(store).manifest.parts[name].arrays[f"filled/{label.key}"].shape for name in new] == [(4,)]
    assert Store(store).columns["label"].tolist() == [value.decode() for value in values]
    with h5py.File(store / "vectors.h5") as file:
        assert file["columns/label"][6] == b"other"
    assert verify(store) == []


def test_a_column_takes_the_place_of_one_of_another_kind(store: Path) -> None:
    """All rows are joined anew then, whatever rows were asked for."""
    with StoreWriter(store) as writer:
        join(writer, [joined("score")], from_list("score", [b"1"] * 8))
        join(writer, [joined("score", "float64")], from_list("score", [0.5] * 7 + [np.nan]), rows=[0])
    np.testing.assert_array_equal(Store(store).columns["score"], [0.5] * 7 + [np.nan])
    assert verify(store) == []


def test_a_column_without_any_value_is_there(store: Path) -> None:
    """Nothing is written for it, and every row is missing."""
    with StoreWriter(store) as writer:
        join(writer, [joined("note")], from_list("note", [b""] * 8))
    assert Store(store).columns["note"].tolist() == [""] * 8
    with h5py.File(store / "vectors.h5") as file:
        assert file["columns/note"][:].tolist() == [b""] * 8
    assert verify(store) == []


def test_a_store_without_columns_is_of_the_format_before(store: Path) -> None:
    """When the last column is dropped, older programs open the store again."""
    with StoreWriter(store) as writer:
        join(writer, [joined("label")], from_list("label", labels_of(8)))
        drop(writer, ["light"])
        assert list(Store(store).columns) == ["label"]
        drop(writer, ["label"])
    manifest = Store(store).manifest
    assert manifest.format_version == 1
    assert b"columns" not in sealed(manifest.model_copy(update={"parts": {}}))
    with StoreWriter(store) as writer:
        compact(writer, retention=0)
    (part,) = Store(store).manifest.parts.values()
    assert not any(name.startswith(("columns/", "filled/")) for name in part.arrays)
    assert verify(store) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format_version": 2}, "it has columns, in format 2"),
        ({"columns": [joined("a/b")]}, "names, or some that are none"),
        ({"columns": [joined("..")]}, "names, or some that are none"),
        ({"columns": [joined("x"), joined("x", "int64")]}, "two columns have one name"),
    ],
)
def test_a_manifest_with_columns_that_cannot_be_is_refused(store: Path, change: dict, told: str) -> None:
    """Whatever its checksum says."""
    manifest = Store(store).manifest.model_copy(update=change)
    with pytest.raises(StoreError, match=told):
        publish(store, manifest)


def test_an_older_program_refuses_it_by_name(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which version to install, and touches nothing."""
    for module in ("manifest", "master_file"):
        monkeypatch.setattr(f"pixelmill.store.{module}.FORMAT_VERSION", 2)
    with pytest.raises(StoreTooNew, match=r"Found format 3: install pixelmill .* or newer"):
        Store(store)
