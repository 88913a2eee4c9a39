"""Copies for other tools: every name comes back to the byte, and a file is there whole or not at all."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from pixelmill.errors import StoreError
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.export import export
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Ensemble, Store
from tests.support.disk import small_disk
from tests.support.stores import SOURCE, sha256, shard_rows, vector

NAMES = [
    b"caf\xe9.png",
    "bild ü.png".encode(),
    b"\\xe9.png",
    b'a "b", c\n\r.png',
    b"\xed\xa0\x80.png",
    b"\xff\xfe/\x80.png",
]


@pytest.fixture
def opened(writer: StoreWriter, matrices: list[Matrix]) -> Store:
    """A store of pictures with those names, the last one in a source whose name is no UTF-8 either."""
    given = shard_rows(range(len(NAMES)), matrices)
    sources = [SOURCE] * (len(NAMES) - 1) + [os.fsdecode(b"/phot\xf6s")]
    files = [FoundFile(source, os.fsdecode(name), 10, 1, 1) for source, name in zip(sources, NAMES, strict=True)]
    given.contents = [replace(content, file=file) for content, file in zip(given.contents, files, strict=True)]
    writer.ledger.scans.record(writer.ledger.scans.begin(), files)
    writer.commit(given)
    return writer.snapshot()


def ensemble(store: Store) -> Ensemble:
    return store.concatenated(["a", "b"])


def from_parquet(out: Path) -> tuple[np.ndarray, list[bytes], list[bytes]]:
    table = pq.read_table(out)
    exact = [
        [whole if whole is not None else name.encode() for whole, name in zip(table[f"{column}_bytes"].to_pylist(),
                                                                             table[column].to_pylist(), strict=True)]
        for column in ("source", "path")
    ]  # fmt: skip
    return np.array(table["vector"].to_pylist(), np.float32), *exact


def from_npy(out: Path) -> tuple[np.ndarray, list[bytes], list[bytes]]:
    with out.with_suffix(".csv").open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        rows = list(csv.DictReader(lines))
    sources, paths = ([os.fsencode(row[column]) for row in rows] for column in ("source", "path"))
    return np.load(out), sources, paths


def from_h5(out: Path) -> tuple[np.ndarray, list[bytes], list[bytes]]:
    with h5py.File(out) as file:
        return file["vectors"][:], list(file["source"][:]), list(file["path"][:])


READ = {"out.h5": from_h5, "out.npy": from_npy, "out.parquet": from_parquet}


@pytest.mark.parametrize("name", READ)
def test_every_name_comes_back_to_the_byte(name: str, opened: Store, tmp_path: Path) -> None:
    """Names that are not UTF-8, or look like escapes, or hold quotes and line ends, are what they were, in every format;
    so are the vectors beside them."""
    done = export(opened, ensemble(opened), tmp_path / name)
    assert done.shape == (len(NAMES), 8)
    values, sources, paths = READ[name](tmp_path / name)
    assert paths == NAMES
    assert sources == [SOURCE.encode()] * (len(NAMES) - 1) + [b"/phot\xf6s"]
    expected = [
        np.concatenate([vector(sha256(n), "a", 3), vector(sha256(n), "b", 5, "float16")]) for n in range(len(NAMES))
    ]
    np.testing.assert_array_equal(values, np.array(expected, np.float32))


def test_a_parquet_of_usual_names_has_them_as_strings(opened: Store, tmp_path: Path) -> None:
    """`path` is a string for everybody; only for names that are no UTF-8 is there more to it."""
    export(opened, ensemble(opened), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["path"].to_pylist()[:4] == ["caf\\xe9.png", "bild ü.png", "\\xe9.png", 'a "b", c\n\r.png']
    assert [whole is None for whole in table["path_bytes"].to_pylist()] == [False, True, True, True, False, False]


@pytest.mark.parametrize("name", READ)
def test_a_full_disk_leaves_no_file(name: str, opened: Store, tmp_path: Path) -> None:
    """A disk that fills up during an export is told, with what it has; no piece of a file stays, no process is killed."""
    big = Ensemble([opened["a"]] * 40_000)  # 3 MB
    with small_disk(tmp_path / "disk", 1000):
        with pytest.raises(StoreError, match="bytes free"):
            export(opened, big, tmp_path / "disk" / name)
        assert list((tmp_path / "disk").iterdir()) == []
