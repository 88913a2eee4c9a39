"""Stores without models: vectors that follow from the sha256 of their row, so that every row can be checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from pixelmill.sources.found import FoundFile
from pixelmill.store.column_values import values_of
from pixelmill.store.column_writer import join
from pixelmill.store.columns import MISSING_INT, Column, ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Manifest, Matrix, Provenance
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.rows import Content, Facts, Failure, ShardRows, Vectors

DIMS = {"a": 3, "b": 5, "c": 2}
SOURCE = "/photos"


def provenance(model: str, *, dim: int = 0, version: int = 0) -> Provenance:
    """What made the matrix of `model`; another `version` is another fingerprint."""
    return Provenance(
        model=model,
        backend="test",
        architecture="hash",
        pretrained="none",
        weights_sha256="0" * 64,
        dim=dim or DIMS[model],
        image_size=8,
        resize=8,
        resize_mode="shortest",
        mean=(0.25, 0.5, 0.75),
        std=(1.0, 1.0, 2.0),
        interpolation="bicubic",
        precision="float32",
        decode="fast",
        exif_orientation=True,
        background="white",
        fingerprint=hashlib.sha256(f"{model} {version}".encode()).hexdigest(),
        versions={"numpy": np.__version__},
    )


def sha256(number: int) -> bytes:
    """The sha256 of content `number`."""
    return hashlib.sha256(b"content %d" % number).digest()


def vector(content: bytes, model: str, dim: int, dtype: str = "float32") -> np.ndarray:
    """The vector that `model` gives the content of that sha256."""
    digest = hashlib.shake_256(model.encode() + content).digest(2 * dim)
    return (np.frombuffer(digest, "<u2").astype(np.float32) / 1024 - 32).astype(dtype)


def size(content: bytes) -> tuple[int, int]:
    """Width and height of the content of that sha256."""
    return content[0] + 1, content[1] + 1


def path_of(number: int) -> str:
    return f"{number % 7}/bild ü {number}.png"


def file_of(number: int, path: str = "") -> FoundFile:
    return FoundFile(SOURCE, path or path_of(number), 10, 1, 1)


def facts_group(version: str = "1") -> ColumnGroup:
    """Columns of each kind, whose values follow from the sha256 of their row."""
    columns = (
        Column(name="light", kind="float64", unit="lm"),
        Column(name="taken", kind="int64"),
        Column(name="camera", kind="text"),
    )
    return ColumnGroup(source="test", version=version, columns=columns)


FACT_NAMES = {f"columns/{column.name}" for column in facts_group().columns}


def fact(content: bytes, name: str, version: str = "1") -> float | int | bytes:
    """The value of a column of `facts_group` for the content of that sha256."""
    number = int.from_bytes(hashlib.shake_256(f"{name} {version}".encode() + content).digest(4), "little")
    return {"light": number / 1024, "taken": number - 2**31}.get(name, f"Kamera ü {number}".encode())


TAG = ColumnGroup(source="table", version="1", columns=(Column(name="tag", kind="text"),))
"""A column that is joined anew in rounds: its values follow from the sha256 of their row and the round."""


def tag(content: bytes, number: int) -> bytes:
    """The value of TAG in a round, for the content of that sha256."""
    return f"{number} ü {content.hex()[:8]}".encode()


def join_tags(writer: StoreWriter, number: int) -> int:
    """Join the values of a round to all rows; how many have changed."""
    store = writer.snapshot()
    tags = [tag(row.tobytes(), number) for row in store.sha256()]
    return join(writer, [TAG], lambda start, stop: {"tag": tags[start:stop]}, store=store)


def rounds_of(columns: Columns) -> list[int]:
    """The round that each row's tag is of, 0 where it has none."""
    return [int(value.split()[0]) if value else 0 for value in columns.get("columns/tag", ())]


def facts_of(contents: Sequence[bytes], group: ColumnGroup, index: Sequence[int] | None = None) -> Facts:
    """The values of a group for contents, or those at `index` of them."""
    at = range(len(contents)) if index is None else index
    values = {c.name: [fact(contents[i], c.name, group.version) for i in at] for c in group.columns}
    arrays = {c.name: np.array(values[c.name], c.dtype) if c.dtype else values[c.name] for c in group.columns}
    return Facts(group.fingerprint, np.array(at, dtype=np.int64), arrays)


def shard_rows(
    numbers: Sequence[int],
    matrices: Sequence[Matrix],
    *,
    bad: Sequence[int] = (),
    only: Mapping[str, Sequence[int]] = {},
    facts: ColumnGroup | None = None,
) -> ShardRows:
    """Contents by number with their vectors, and `facts`; those in `bad` were refused, `only` limits a model to
    some."""
    result = ShardRows()
    for number in numbers:
        content = sha256(number)
        result.contents.append(Content(file_of(number), content, *((0, 0) if number in bad else size(content))))
        if number in bad:
            result.failures.append(Failure(file_of(number).absolute, content, "decode", "damaged"))
    for matrix in matrices:
        made = matrix.provenance
        wanted = set(only.get(made.model, numbers)) - set(bad)
        index = np.array([i for i, n in enumerate(numbers) if n in wanted], dtype=np.int64)
        if len(index):
            values = np.stack([vector(sha256(numbers[i]), made.model, made.dim) for i in index])
            result.vectors[made.fingerprint] = Vectors(index, values)
    if facts and (made_of := [i for i, number in enumerate(numbers) if number not in bad]):
        result.facts = facts_of([sha256(number) for number in numbers], facts, made_of)
    return result


def record_files(writer: StoreWriter, numbers: Sequence[int]) -> None:
    """Let a scan find the files of the contents."""
    writer.ledger.scans.record(writer.ledger.scans.begin(), [file_of(number) for number in numbers])


Columns = dict[str, np.ndarray]
"""The datasets of one snapshot, by their names in the master."""
VectorOf = Callable[[bytes, str, int], np.ndarray]
Fits = Callable[[bytes, str, object], bool]


def read_plain(folder: Path) -> Columns:
    """Every dataset of the master but the manifest, read by plain h5py."""
    with h5py.File(folder / "vectors.h5", "r") as file:
        return columns_of(file)


def columns_of(file: h5py.File) -> Columns:
    """Every dataset of an open master but the manifest."""
    columns: Columns = {}

    def read(name: str, found: h5py.Group | h5py.Dataset) -> None:
        if isinstance(found, h5py.Dataset) and name != "manifest":
            columns[name] = found[:]

    file.visititems(read)
    return columns


def read_own(store: Store) -> Columns:
    """The same datasets of a snapshot, by our reader."""
    matrices = {m.published_name: MatrixView(store, m).read() for m in store.manifest.matrices}
    return {
        "images/sha256": store.sha256(),
        "images/width": store.column("images/width"),
        "images/height": store.column("images/height"),
        "images/path": store.texts("images/path", 0, len(store)),
        "images/source": store.texts("images/source", 0, len(store)),
        **matrices,
        **{
            group.published_name(column): values_of(store.parts, group, column, 0, len(store))
            for group in store.manifest.columns
            for column in group.columns
        },
    }


def fits_ever(content: bytes, name: str, value: object) -> bool:
    """Whether a column of `facts_group`, or TAG, says that of the content of that sha256 in some version or round."""
    if name == "tag":
        return isinstance(value, bytes) and value == tag(content, int(value.split()[0]))
    return value in {fact(content, name, version) for version in "12"}


def check_aligned(columns: Columns, vector_of: VectorOf = vector, fits: Fits = fits_ever) -> list[bytes]:
    """Every row of every dataset belongs to the content of that row; the contents by row.

    All datasets have one length and no content is there twice. Each row of each matrix, served or not, is the vector
    that `vector_of` (sha256, model, dim) gives for the row's sha256, or NaN from end to end; each value of a column is
    one that `fits` (sha256, name, value), or missing, and rows have all of `facts_group` or none.
    """
    rows = [row.tobytes() for row in columns["images/sha256"]]
    assert {name: len(values) for name, values in columns.items()} == dict.fromkeys(columns, len(rows))
    assert len(set(rows)) == len(rows), "one row a content"
    for name, values in columns.items():
        if name.startswith("columns/"):
            check_column(rows, name.removeprefix("columns/"), values, fits)
        elif not name.startswith(("images/", "generations/columns/")):
            model, dim = name.split("/")[1], values.shape[1]
            whole = [
                np.full(dim, np.nan) if lacking else vector_of(row, model, dim)
                for row, lacking in _lacking(rows, values)
            ]
            expected = np.array(whole, dtype=values.dtype).reshape(values.shape)
            np.testing.assert_allclose(values, expected, rtol=0 if vector_of is vector else 1e-5, err_msg=name)
    present = {tuple(known_in(columns[name])) for name in FACT_NAMES & columns.keys()}
    assert len(present) <= 1, "rows with some of their facts"
    return rows


def known_in(values: np.ndarray) -> list[bool]:
    """Which rows of a column have a value that is not the missing one."""
    return [value not in (b"", MISSING_INT) and value == value for value in values.tolist()]


def check_column(rows: Sequence[bytes], name: str, values: np.ndarray, fits: Fits) -> None:
    """Each value of a column fits its row's sha256, or is missing."""
    for row, value, known in zip(rows, values.tolist(), known_in(values), strict=True):
        assert not known or fits(row, name, value), name


def _lacking(rows: Sequence[bytes], values: np.ndarray) -> Iterator[tuple[bytes, bool]]:
    return zip(rows, np.isnan(values).all(axis=1).tolist(), strict=True)


def check_sizes(columns: Columns) -> None:
    """Width and height are those of the row's content, or 0 where it could not be decoded."""
    for row, *given in zip(*(columns[f"images/{name}"] for name in ("sha256", "width", "height")), strict=True):
        assert tuple(given) in (size(row.tobytes()), (0, 0))


def check_plain(
    folder: Path, contents: Mapping[bytes, Mapping[str, bool]], *, paths: Mapping[bytes, str] | None = None
) -> None:
    """The master, read by plain h5py and by our reader, is exactly `contents`: by sha256, which models embedded it.

    Every row of every matrix is compared with the vector that follows from the row's sha256, NaN where there is none.
    """
    store = Store(folder)
    for columns in (read_plain(folder), read_own(store)):
        check_aligned(columns)
        check_sizes(columns)
    with h5py.File(folder / "vectors.h5", "r") as file:
        rows = [row.tobytes() for row in file["images/sha256"][:]]
        assert sorted(rows) == sorted(contents), "one row a content"
        np.testing.assert_array_equal(store.sha256(), file["images/sha256"][:].reshape(-1, 32))
        np.testing.assert_array_equal(store.widths, file["images/width"][:])
        np.testing.assert_array_equal(store.heights, file["images/height"][:])
        np.testing.assert_array_equal(store.paths, file["images/path"][:])
        np.testing.assert_array_equal(store.sources, file["images/source"][:])
        if paths is not None:
            assert {row: os.fsdecode(p) for row, p in zip(rows, file["images/path"][:], strict=True)} == dict(paths)
        assert set(store.models) == set(file.get("vectors", {}))
        for model in store.models:
            dataset, view = file["vectors"][model], store[model]
            expected = np.full(dataset.shape, np.nan, dataset.dtype)
            for i, row in enumerate(rows):
                if contents[row].get(model):
                    expected[i] = vector(row, model, dataset.shape[1], dataset.dtype.str)
            np.testing.assert_array_equal(dataset[:], expected)
            np.testing.assert_array_equal(view.read(), expected)
            order = np.random.default_rng(0).permutation(len(rows))
            np.testing.assert_array_equal(view.take(order), expected[order])
            np.testing.assert_array_equal(view.embedded, ~np.isnan(expected).any(axis=1))


def check_parts(folder: Path) -> None:
    """Every part file is named by the manifest or retired, every one that is used is there, and nothing else is."""
    manifest = Store(folder).manifest
    on_disk = {path.name for path in (folder / "parts").iterdir()}
    assert on_disk == {*manifest.parts, *(retired.file for retired in manifest.retired)}
    assert manifest.used_parts() <= on_disk
    assert not list(folder.glob(".*.tmp"))


def rows_by_content(folder: Path) -> dict[bytes, int]:
    return {row.tobytes(): i for i, row in enumerate(Store(folder).sha256())}


def manifest_of(folder: Path) -> Manifest:
    return Store(folder).manifest


def same_rows(columns: Columns, before: Columns, rows: Sequence[int]) -> bool:
    """Whether these rows are as they were before, in all that there was."""
    pairs = [(columns.get(name), values) for name, values in before.items()]
    return all(now is not None and _same(now[list(rows)], values[list(rows)]) for now, values in pairs)


def _same(now: np.ndarray, before: np.ndarray) -> bool:
    equal = (now == before) | ((now != now) & (before != before))
    return bool(np.all(equal))
