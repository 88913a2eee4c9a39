"""Stores of every format that was ever written open, wherever they are, and are gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.store.column_writer import begin, drop
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.erase import erase
from pixelmill.store.manifest import FORMAT_VERSION
from pixelmill.store.reader import Store
from pixelmill.store.schema import SCHEMA_VERSION
from pixelmill.store.verify import verify
from tests.support.golden import (
    GOLDEN,
    MOVED,
    REFUSED,
    ROWS,
    check_with_h5py,
    check_with_reader,
    committed,
    expected_of,
    found,
)
from tests.support.stores import (
    check_aligned,
    facts_group,
    join_tags,
    known_in,
    provenance,
    read_plain,
    same_rows,
    sha256,
    vector,
)

VERSIONS = sorted(path.name for path in GOLDEN.iterdir())


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(version: str, tmp_path: Path) -> Path:
    """A copy of a golden store, in another folder than it was made in."""
    return Path(shutil.copytree(GOLDEN / version / "store", tmp_path / "moved" / "store"))


def test_the_format_of_today_has_a_golden_store() -> None:
    """Whoever raises the version of the format or of the ledger must make a golden store: see tests/support/golden.py."""
    assert f"v{FORMAT_VERSION}" in VERSIONS
    made = [expected_of(version) for version in VERSIONS]
    assert [f"v{expected['format_version']}" for expected in made] == VERSIONS
    assert SCHEMA_VERSION in {expected["ledger_version"] for expected in made}


def test_a_moved_store_opens(store: Path, version: str) -> None:
    """Every row of every dataset is what was put in, by plain h5py and by our reader, and verify finds nothing."""
    check_with_h5py(store / "vectors.h5", expected_of(version))
    check_with_reader(store, expected_of(version))
    assert verify(store) == []


def test_rows_are_erased_in_the_format_that_there_is(store: Path, version: str) -> None:
    """A store of each format forgets a row, is sound after that, and of the same format, so that who reads it now can
    go on reading it."""
    before, contents = read_plain(store), Store(store).sha256().copy()
    with StoreWriter(store) as writer:
        erase(writer, np.array([1]))
    columns, others = read_plain(store), [row for row in range(len(contents)) if row != 1]
    assert same_rows(columns, before, others)
    assert contents[1].tobytes() not in b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert f"v{Store(store).manifest.format_version}" == version
    assert verify(store) == []


def test_verify_leaves_a_store_as_it_is(store: Path) -> None:
    """Verifying neither changes a byte nor leaves a file, which another user could not write to, behind."""
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    verify(store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("link", ["folder", "master"])
def test_a_store_opens_through_a_link(link: str, store: Path, version: str, tmp_path: Path) -> None:
    """A link to the folder, or to vectors.h5 from another folder, leads to the rows of the store, also for a writer."""
    place = tmp_path / "link"
    if link == "folder":
        place.symlink_to(store)
    else:
        place.mkdir()
        (place / "vectors.h5").symlink_to(store / "vectors.h5")
    check_with_h5py(place / "vectors.h5", expected_of(version))
    check_with_reader(place, expected_of(version))
    assert verify(place) == []
    with StoreWriter(place) as writer:
        writer.commit(committed(range(ROWS, ROWS + 1), [writer.matrix(provenance("a"), "float32")]))
    assert (place / "vectors.h5").is_symlink() == (link == "master")
    assert len(Store(store)) == ROWS + 1


def test_a_writer_goes_on_with_it(store: Path, version: str) -> None:
    """A writer adds rows and vectors and compacts; old rows keep number and content, and known images are not new."""
    with StoreWriter(store) as writer:
        a, b = writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")
        scan = writer.ledger.scans.begin()
        writer.ledger.scans.record(scan, [found(n) for n in (*range(4), *range(6, ROWS + 2))])
        assert [row for _, row in writer.ledger.worklist.images(scan)].count(None) == 2
        writer.commit(committed(range(6, ROWS + 2), [a, b]))
        compact(writer, retention=0)
        assert writer.ledger.contents.row_of(sha256(MOVED)) == MOVED
        assert writer.ledger.changes().new == 2
    expected = completed(version)
    check_with_h5py(store / "vectors.h5", expected)
    check_with_reader(store, expected)
    assert Store(store)["a"].read()[-1].tolist() == vector(sha256(ROWS + 1), "a", 3).tolist()
    assert verify(store) == []


def completed(version: str) -> dict[str, Any]:
    """What a golden store holds when model b has embedded all rows."""
    expected = expected_of(version)
    both = expected["datasets"]["vectors/b"]
    for n in range(8, ROWS):
        both["values"][n] = vector(sha256(n), "b", both["dim"], "float16").tolist()
    return expected


def shape_of(value: Any, name: str = "") -> Any:
    """What fields there are in JSON, whatever they say; of parts, extents and other lists, what is in the first."""
    if isinstance(value, dict):
        fields = list(value.items())[:1] if name in ("parts", "arrays", "versions") else list(value.items())
        return [("" if name in ("parts", "arrays", "versions") else key, shape_of(found, key)) for key, found in fields]
    return [shape_of(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else ""


@pytest.mark.parametrize("version", [version for version in VERSIONS if version < "v3"], indirect=True)
def test_older_stores_go_on_in_their_format_until_they_have_columns(store: Path, version: str) -> None:
    """What a writer publishes has the fields that programs of that time know, no more; once it is asked for facts or
    tables the store is of the format of columns, with all that it had; and without them again of its own."""
    written = int(version.removeprefix("v"))
    before = shape_of(json.loads((store / "manifest.json").read_bytes()))
    with StoreWriter(store) as writer:
        writer.commit(committed(range(8, ROWS), [writer.matrix(provenance("b"), "float16")]))
        compact(writer, retention=-1)
        compact(writer, retention=-1)
        assert (store / "vectors.h5").read_bytes().startswith(b"pixelmill format %d " % written)
        now = json.loads((store / "manifest.json").read_bytes())
        assert dict(shape_of(now)) == {**dict(before), "retired": ""}
        assert not any(name.startswith(("columns/", "filled/")) for p in now["parts"].values() for name in p["arrays"])
        facts = begin(writer, facts_group())
        writer.commit(committed(range(ROWS), [], facts=facts))
        assert join_tags(writer, 1) == ROWS
        check_aligned({name: v for name, v in read_plain(store).items() if not name.startswith("ensembles/")})
        assert (store / "vectors.h5").read_bytes().startswith(b"pixelmill format 3 ")
        assert known_in(read_plain(store)["columns/light"]) == [n != REFUSED for n in range(ROWS)]
        expected = completed(version)
        check_with_h5py(store / "vectors.h5", expected)
        assert verify(store) == []
        drop(writer, ["light", "tag"])
        assert (store / "vectors.h5").read_bytes().startswith(b"pixelmill format %d " % written)
    check_with_h5py(store / "vectors.h5", expected)
    assert verify(store) == []
