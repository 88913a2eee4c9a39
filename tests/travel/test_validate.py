"""Rows that come from elsewhere are stored as they are, or refused as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.rows import Failure, ShardRows, Vectors
from pixelmill.travel.messages import MessageRefused
from pixelmill.travel.validate import require_storable
from tests.support.stores import check_plain, file_of, path_of, provenance, record_files, sha256, shard_rows

MATRICES = [Matrix(provenance=provenance(model), dtype="float32", serving=True) for model in "ab"]
FIRST = MATRICES[0].provenance.fingerprint


def rows() -> ShardRows:
    """Four contents, one of them refused, a copy and a file that could not be read at all."""
    made = shard_rows(range(4), MATRICES, bad=[2])
    made.copies.append((FoundFile("/photos", "name\udcff", 2**63 - 1, -(2**62), 0), sha256(1)))
    made.failures.append(Failure("/photos/empty", None, "read", "it is empty"))
    made.failures.append(Failure(f"/photos/{path_of(3)}", sha256(3), "embed", "not finite", FIRST, "a"))
    return made


def test_sound_rows_are_stored(tmp_path: Path) -> None:
    """What a worker makes passes, and a commit takes it; so does a shard that gave nothing."""
    require_storable(ShardRows(), [])
    with StoreWriter(tmp_path / "store") as writer:
        matrices = [writer.matrix(matrix.provenance, "float32") for matrix in MATRICES]
        record_files(writer, range(4))
        require_storable(rows(), matrices)
        writer.commit(rows())
    done = {number: {"a": number != 2, "b": number != 2} for number in range(4)}
    check_plain(tmp_path / "store", {sha256(number): models for number, models in done.items()})


def vectors(**changed: Any) -> Callable[[ShardRows], object]:
    return lambda rows: rows.vectors.update({FIRST: replace(rows.vectors[FIRST], **changed)})


def content(**changed: Any) -> Callable[[ShardRows], object]:
    return lambda rows: rows.contents.__setitem__(0, replace(rows.contents[0], **changed))


def failure(**changed: Any) -> Callable[[ShardRows], object]:
    return lambda rows: rows.failures.__setitem__(0, replace(rows.failures[0], **changed))


GOOD = np.zeros((3, 3), np.float32)
WRONG: dict[str, tuple[Callable[[ShardRows], object], str]] = {
    "a content twice": (content(sha256=sha256(1)), "twice"),
    "a sha256 cut off": (content(sha256=b"12"), "sha256"),
    "a sha256 in hex": (content(sha256=sha256(1).hex()), "sha256"),
    "pixels below none": (content(width=-1), "pixels"),
    "pixels beyond a store": (content(height=2**31), "pixels"),
    "pixels that are none": (content(width=1.5), "pixels"),
    "a size beyond a ledger": (content(file=file_of(0)._replace(size=2**63)), "size"),
    "a size below none": (content(file=file_of(0)._replace(size=-1)), "size"),
    "a time beyond a ledger": (content(file=file_of(0)._replace(ctime_ns=2**70)), "time"),
    "a path that ends early": (content(file=file_of(0)._replace(path="a\0")), "path"),
    "no root": (content(file=file_of(0)._replace(source="")), "path"),
    "a path of no file system": (content(file=file_of(0)._replace(path="\ud800")), "surrogate"),
    "a file that is none": (content(file=None), "None"),
    "a copy's sha256": (lambda rows: rows.copies.append((file_of(1), b"")), "sha256"),
    "a copy's path": (lambda rows: rows.copies.append((file_of(1, "\0"), sha256(1))), "path"),
    "a failure of nowhere": (failure(path=""), "path"),
    "a failure of no whole path": (failure(path="a.png"), "path"),
    "a failure's sha256": (failure(sha256=b"1"), "sha256"),
    "a failure's matrix": (failure(fingerprint="c"), "not asked for"),
    "a reason without end": (failure(reason="x" * 2_000_000), "characters"),
    "a reason that is no text": (failure(reason="\udcff"), "surrogate"),
    "a reason that is none": (failure(reason=None), "None"),
    "another matrix": (lambda rows: rows.vectors.update(c=rows.vectors[FIRST]), "not asked for"),
    "another dimension": (vectors(values=np.zeros((3, 4), np.float32)), "shape"),
    "too few vectors": (vectors(values=GOOD[:2]), "shape"),
    "vectors in one": (vectors(values=GOOD.reshape(-1)), "shape"),
    "a table of indexes": (vectors(index=np.zeros((3, 1), np.int64)), "shape"),
    "numbers for indexes": (vectors(index=np.arange(3.0)), "float64"),
    "whole numbers for vectors": (vectors(values=np.zeros((3, 3), np.int64)), "int64"),
    "the last content from behind": (vectors(index=np.array([0, 1, -1])), "each of one"),
    "a content beyond": (vectors(index=np.array([0, 1, 4])), "each of one"),
    "two vectors of one": (vectors(index=np.array([0, 1, 1])), "each of one"),
    "not a number": (vectors(values=np.where(np.eye(3), np.nan, GOOD)), "finite"),
    "infinite": (vectors(values=np.where(np.eye(3), -np.inf, GOOD)), "finite"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_stored_is_refused_in_words(wrong: str) -> None:
    """One thing wrong, and none of it is stored; what is wrong is said."""
    made = rows()
    change, words = WRONG[wrong]
    change(made)
    with pytest.raises(MessageRefused, match=f"cannot be stored: .*{words}"):
        require_storable(made, MATRICES)


def test_vectors_of_no_image_are_none() -> None:
    """A matrix may be named without vectors, as where a model refused all."""
    none = Vectors(np.empty(0, np.int64), np.empty((0, 3), np.float32))
    require_storable(ShardRows(vectors={FIRST: none}), MATRICES)
