"""Make the golden store of the format that this program writes: `python -m tests.support.golden`, once a format.

It holds what a store can hold: two models in two dtypes, a compacted part and others, a second generation that is not
complete, an ensemble with a name, columns of each kind that were filled and one that was joined, an image in quarantine (a row of NaN), one that moved, one that is gone, a path that
is not UTF-8, a ledger.
`expected.json` beside it says what is in it, from what was put in, not from what was read back.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pixelmill import __version__
from pixelmill.sources.found import FoundFile
from pixelmill.store.column_writer import begin, join
from pixelmill.store.columns import MISSING_INT, Column, ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.ensembles import keep
from pixelmill.store.manifest import FORMAT_VERSION, Matrix
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.rows import ShardRows
from pixelmill.store.schema import SCHEMA_VERSION
from tests.support.stores import SOURCE, fact, facts_group, file_of, provenance, sha256, shard_rows, size, vector

GOLDEN = Path(__file__).parent.parent / "store" / "golden"
ROWS = 12
REFUSED, MOVED, GONE, NOT_UTF8 = 2, 4, 5, 7
SECOND = range(0, 3)
"""What the second generation of model a holds, except what was refused."""
ENSEMBLE = "both"
NEW_PLACE = "moved to/bild 4.png"
LABEL = ColumnGroup(source="table", version="1", columns=(Column(name="label", kind="text"),))


def make(folder: Path) -> None:
    """Write the store and what is expected of it into `folder`, which must not exist."""
    store = folder / "store"
    with StoreWriter(store) as writer:
        a, b = writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")
        first = [found(n) for n in range(ROWS)]
        writer.ledger.scans.record(writer.ledger.scans.begin(), first)
        writer.commit(committed(range(4), [a, b]))
        writer.commit(committed(range(4, 8), [a, b]))
        compact(writer, retention=0)
        writer.commit(committed(range(8, ROWS), [a]))
        keep(writer, ENSEMBLE, ["b", "a"], [0.75, 0.25])
        second = writer.matrix(provenance("a", version=1), "float32")
        writer.commit(committed(SECOND, [second], facts=begin(writer, facts_group())))
        join(writer, [LABEL], lambda start, stop: {"label": [label(n) for n in range(start, stop)]})
        writer.ledger.changes()
        writer.ledger.settle()
        _move_and_remove(writer, first)
        writer.ledger.runs.record(0.0, {"store": "golden", "warnings": []})
    (store / ".lock").unlink()
    (folder / "expected.json").write_text(json.dumps(_expected(), indent=1) + "\n")


def committed(numbers: Sequence[int], matrices: Sequence[Matrix], *, facts: ColumnGroup | None = None) -> ShardRows:
    """The contents by number with their vectors and facts, at their first places."""
    result = shard_rows(numbers, matrices, bad=[n for n in numbers if n == REFUSED], facts=facts)
    result.contents = [replace(c, file=found(n)) for n, c in zip(numbers, result.contents, strict=True)]
    return result


def found(number: int) -> FoundFile:
    """Where a content was found first."""
    return file_of(number, os.fsdecode(b"nicht \xff utf-8.png") if number == NOT_UTF8 else "")


def _move_and_remove(writer: StoreWriter, first: Sequence[FoundFile]) -> None:
    ledger, moved = writer.ledger, file_of(MOVED, NEW_PLACE)
    kept = [file for n, file in enumerate(first) if n not in (MOVED, GONE)]
    scan = ledger.scans.begin()
    ledger.scans.record(scan, [*kept, moved])
    ledger.scans.mark_gone(scan, SOURCE)
    ledger.contents.record_read([(moved, MOVED)])
    writer.update_locations(ledger.changes().stale_rows)
    ledger.settle()


def _expected() -> dict[str, Any]:
    held = set(range(ROWS)) - {REFUSED}
    return {
        "format_version": FORMAT_VERSION,
        "ledger_version": SCHEMA_VERSION,
        "pixelmill_version": __version__,
        "rows": list(_rows()),
        "datasets": {
            "vectors/a": _values("a", "float32", held),
            "vectors/b": _values("b", "float16", held & set(range(8))),
            f"generations/a/{provenance('a', version=1).fingerprint[:16]}": _values("a", "float32", held & set(SECOND)),
        },
        "ensembles": {ENSEMBLE: ["b", "a"]},
        "columns": {
            "label": {
                "kind": "text",
                "source": "table",
                "version": "1",
                "unit": "",
                "values": [label(n).decode() for n in range(ROWS)],
            },
            **{column.name: _column(column, held & set(SECOND)) for column in facts_group().columns},
        },
        "quarantine": [{"path": found(REFUSED).absolute, "row": REFUSED, "stage": "decode", "reason": "damaged"}],
    }


def _rows() -> Iterator[dict[str, Any]]:
    for n in range(ROWS):
        width, height = (0, 0) if n == REFUSED else size(sha256(n))
        path = {MOVED: NEW_PLACE, GONE: ""}.get(n, found(n).path)
        yield {"sha256": sha256(n).hex(), "path": path, "source": SOURCE, "width": width, "height": height}


def _values(model: str, dtype: str, rows: set[int]) -> dict[str, Any]:
    dim = provenance(model).dim
    # Every float16 and float32 is a decimal that JSON gives back exactly.
    values = [
        vector(sha256(n), model, dim, dtype).astype(np.float64).tolist() if n in rows else None for n in range(ROWS)
    ]
    return {"dtype": dtype, "dim": dim, "values": values}


def _column(column: Column, rows: set[int]) -> dict[str, Any]:
    values = [_shown(fact(sha256(n), column.name)) if n in rows else None for n in range(ROWS)]
    return {"kind": column.kind, "source": "test", "version": "1", "unit": column.unit, "values": values}


def label(number: int) -> bytes:
    """What the joined column says of a content."""
    return f"Tür {number}".encode() if number % 2 else b""


def _shown(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def check_column(given: np.ndarray, described: dict[str, Any], rows: int = ROWS) -> None:
    """Exactly the values that were put in, and missing ones where there were none."""
    missing = {"float64": None, "int64": MISSING_INT, "text": ""}[described["kind"]]
    values = [None if value != value else _shown(value) for value in given.tolist()]
    assert values == [missing if value is None else value for value in described["values"][:rows]]


def expected_of(version: str) -> dict[str, Any]:
    """What was put into a golden store."""
    contents: dict[str, Any] = json.loads((GOLDEN / version / "expected.json").read_text())
    return contents


def values_of(described: dict[str, Any], rows: int = ROWS) -> np.ndarray:
    absent = [float("nan")] * described["dim"]
    return np.array([row or absent for row in described["values"][:rows]], dtype=described["dtype"])


def check_with_h5py(master: Path, expected: dict[str, Any], rows: int = ROWS) -> None:
    """Plain h5py gives exactly what was put in."""
    with h5py.File(master, "r") as file:
        assert [row.tobytes().hex() for row in file["images/sha256"][:rows]] == [r["sha256"] for r in expected["rows"]]
        for name in ("width", "height"):
            assert file[f"images/{name}"][:rows].tolist() == [r[name] for r in expected["rows"]]
        for name in ("path", "source"):
            assert list(file[f"images/{name}"][:rows]) == [os.fsencode(r[name]) for r in expected["rows"]]
        for name, described in expected["datasets"].items():
            assert file[name].dtype == described["dtype"]
            np.testing.assert_array_equal(file[name][:rows], values_of(described))
        for name, described in expected.get("columns", {}).items():
            check_column(file[f"columns/{name}"][:rows], described, rows)
            for said in ("kind", "source", "version", "unit"):
                assert file[f"columns/{name}"].attrs[said] == described[said]
        for name, models in expected.get("ensembles", {}).items():
            np.testing.assert_array_equal(file[f"ensembles/{name}"][:rows], side_by_side(expected, models))


def side_by_side(expected: dict[str, Any], models: list[str]) -> np.ndarray:
    return np.hstack([values_of(expected["datasets"][f"vectors/{model}"]) for model in models])


def check_with_reader(folder: Path, expected: dict[str, Any], rows: int = ROWS) -> None:
    """Our reader gives exactly what was put in."""
    store = Store(folder)
    assert set(store.columns) == set(expected.get("columns", {}))
    for name, described in expected.get("columns", {}).items():
        check_column(store.columns[name][:rows], described, rows)
    assert [row.tobytes().hex() for row in store.sha256()[:rows]] == [r["sha256"] for r in expected["rows"]]
    assert store.widths[:rows].tolist() == [r["width"] for r in expected["rows"]]
    assert store.heights[:rows].tolist() == [r["height"] for r in expected["rows"]]
    assert list(store.paths[:rows]) == [os.fsencode(r["path"]) for r in expected["rows"]]
    assert list(store.sources[:rows]) == [os.fsencode(r["source"]) for r in expected["rows"]]
    assert store.present[:rows].tolist() == [r["path"] != "" for r in expected["rows"]]
    assert [store.place(row) for row in range(rows)] == [(r["source"], r["path"]) for r in expected["rows"]]
    matrices = {matrix.published_name: matrix for matrix in store.manifest.matrices}
    for name, described in expected["datasets"].items():
        view = MatrixView(store, matrices[name])
        np.testing.assert_array_equal(view.read(0, rows), values_of(described))
        assert view.embedded[:rows].tolist() == [row is not None for row in described["values"]]
    assert store.ensembles == sorted(expected.get("ensembles", {}))
    for name, models in expected.get("ensembles", {}).items():
        kept = store.manifest.ensemble(name)
        assert kept is not None
        ones = store.concatenated([name], weights=[1.0] * len(models)).read(0, rows)
        np.testing.assert_array_equal(ones, side_by_side(expected, models))


if __name__ == "__main__":
    target = GOLDEN / f"v{FORMAT_VERSION}"
    if target.exists():
        sys.exit(f"{target} exists: a golden store is made once and then kept for ever.")
    try:
        make(target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
