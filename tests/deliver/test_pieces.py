"""Batches in pieces that a server takes at once, and what it has kept as columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pixelmill.deliver.pieces import column, pieces


def batch_of(texts: list[str | None], dim: int = 2) -> pa.RecordBatch:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.0] * dim * len(texts), pa.float32()), dim)
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string()), vectors], ["text", "vector"])


def test_no_piece_takes_more_than_fits_whichever_rows_are_long() -> None:
    """Long texts that lie beside each other do not come together because others are short; a row alone may be as long
    as it likes, and each row is in one piece."""
    texts = ["x"] * 500 + ["y" * 1_000] * 40 + [None] * 3 + ["z" * 9_000] + ["x"] * 100
    found = list(pieces(batch_of(texts), most=5_000, rows=200))
    assert [text for piece in found for text in piece.column("text").to_pylist()] == texts
    sizes = [sum(len(text or "") + 8 for text in piece.column("text").to_pylist()) for piece in found]
    assert max(size for size, piece in zip(sizes, found, strict=True) if piece.num_rows > 1) <= 5_000
    assert max(piece.num_rows for piece in found) == 200
    assert len(found) < 30
    assert list(pieces(batch_of([]), most=1, rows=1)) == []


def test_vectors_count_by_their_numbers() -> None:
    """4,096 dimensions in JSON are 90 kB a row."""
    found = list(pieces(batch_of(["x"] * 400, 4096), most=8 << 20, rows=4_096, number=22))
    assert [piece.num_rows for piece in found] == [93, 93, 93, 93, 28]


@pytest.mark.parametrize(
    ("kind", "values", "kept"),
    [
        (pa.string(), ["a", 5, None, True], ["a", None, None, None]),
        (pa.int64(), [1, "1", 2**63, -(2**63), True, 1.5], [1, None, None, -(2**63), None, None]),
        (pa.float64(), [1, 0.5, "1", None, False], [1.0, 0.5, None, None, None]),
    ],
)
def test_what_is_of_another_kind_counts_as_missing(kind: pa.DataType, values: list[object], kept: list[object]) -> None:
    """Whatever somebody has put there, a comparison can be made."""
    assert column(pa.field("a", kind), values).to_pylist() == kept
