"""Erased rows leave nothing in any file of the store; others stay as they were, whatever happens meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from pixelmill.errors import StoreDamaged
from pixelmill.store import forgotten, packs
from pixelmill.store.column_writer import join
from pixelmill.store.columns import Values
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.erase import erase
from pixelmill.store.forgotten import identities
from pixelmill.store.manifest import Part
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.forgettable import KEPT, ROWS, filled, of
from tests.support.stores import (
    TAG,
    check_aligned,
    path_of,
    provenance,
    read_own,
    read_plain,
    record_files,
    sha256,
    shard_rows,
    tag,
)
from tests.support.traces import traces


def test_nothing_is_left_of_erased_rows(folder: Path) -> None:
    """Neither checksum nor path, of now or before, nor vector, fact, tag or name in a report is in any file of the
    store; of the others everything is as it was, and the store is sound."""
    filled(folder)
    before = read_own(Store(folder))
    for row in ROWS.tolist():
        found = {trace.partition(": ")[2] for trace in traces(folder, of(row))}
        assert {"sha256", "vector 0, float32", "vector 1, float16", f"{path_of(row)!r}"} <= found, "the search finds"
    with StoreWriter(folder) as writer:
        erase(writer, ROWS)
    for row in ROWS.tolist():
        assert traces(folder, of(row)) == []
    assert all(traces(folder, of(row)) for row in KEPT)
    assert verify(folder) == []
    store = Store(folder)
    for columns in (read_own(store), read_plain(folder)):
        assert before.keys() <= columns.keys()
        for name, values in before.items():
            np.testing.assert_array_equal(columns[name][KEPT], values[KEPT], err_msg=name)
    np.testing.assert_array_equal(store.sha256()[ROWS], identities(ROWS))
    assert not store["a"].embedded[ROWS].any()
    assert np.isnan(store["a"][ROWS]).all()
    assert [*store.paths[ROWS], *store.sources[ROWS]] == [b""] * 6
    assert not store.columns["camera"][ROWS].any()
    assert np.isnan(store.columns["light"][ROWS]).all()


def test_what_is_kept_of_runs_names_erased_rows_no_more(folder: Path) -> None:
    """In kept reports a word stands for each text that named an erased picture, or a path that is nobody's any more,
    and was one's, perhaps; of others the reports say what they said."""
    filled(folder)
    with StoreWriter(folder) as writer:
        erase(writer, ROWS)
        (report,) = writer.ledger.runs.last()
    paths = [image["path"] for image in report["new_images"]]
    assert [n for n, path in enumerate(paths) if path == "(forgotten)"] == [2, 3, 4, 7], "4 has moved"
    assert report["failures"] == [{"examples": ["(forgotten)", "(forgotten)"]}]
    assert report["warnings"] == ["(forgotten)"]
    assert json.dumps(report["sources"]) == '{"/photos": 10}'


def test_to_erase_again_writes_nothing(folder: Path) -> None:
    """Erased rows are erased: a second time publishes no revision."""
    filled(folder)
    with StoreWriter(folder) as writer:
        erase(writer, ROWS)
        revision = writer.snapshot().manifest.revision
        erase(writer, ROWS)
        assert writer.snapshot().manifest.revision == revision


def test_a_row_number_stays_used(folder: Path) -> None:
    """A forgotten content that comes again gets a new row, with its vectors; nobody gets the old one."""
    filled(folder)
    with StoreWriter(folder) as writer:
        erase(writer, ROWS)
        record_files(writer, range(12))
        writer.commit(shard_rows(range(12), [writer.matrix(provenance("a"), "float32")]))
    store = Store(folder)
    assert len(store) == 15
    assert {row.tobytes() for row in store.sha256()[10:]} == {sha256(n) for n in (2, 3, 7, 10, 11)}
    np.testing.assert_array_equal(store.sha256()[ROWS], identities(ROWS))
    assert verify(folder) == []


def test_a_reader_of_before_goes_on(folder: Path) -> None:
    """Who has mapped what was erased reads on what it was; a later snapshot has it no more."""
    filled(folder)
    old = Store(folder)
    before = read_own(old)
    with StoreWriter(folder) as writer:
        erase(writer, ROWS)
    for name, values in read_own(old).items():
        np.testing.assert_array_equal(values, before[name])


def test_a_reader_of_before_is_told_to_look_again(folder: Path) -> None:
    """What nobody has mapped by then is gone: the error says what may be why, and what to do."""
    filled(folder)
    old = Store(folder)
    with StoreWriter(folder) as writer:
        erase(writer, ROWS)
    with pytest.raises(StoreDamaged, match="Where pictures were forgotten since the store was opened, open it again"):
        old["a"].read()


@pytest.mark.parametrize("rows", [[], range(10), [9]], ids=["none", "all", "last"])
def test_any_rows_may_go(rows: list[int], folder: Path) -> None:
    """Nothing, everything, or the last row, by which a ledger is known to be level with its store."""
    filled(folder)
    with StoreWriter(folder) as writer:
        erase(writer, np.array(rows, np.int64))
    with StoreWriter(folder) as writer:
        assert writer.ledger.runs.notice() == ""
    assert np.array_equal(np.flatnonzero(forgotten.forgotten(Store(folder))), list(rows))
    assert verify(folder) == []


def test_others_go_on_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who commits while parts are written anew loses nothing, nor does who has written a part and comes to publish it
    when parts that no snapshot names are gone."""
    filled(folder)
    with StoreWriter(folder) as writer, StoreWriter(folder) as other:
        matrix, write, take_turn = writer.matrix(provenance("a"), "float32"), packs.write_part, other.in_turn

        def interrupted(parts: Path, datasets: Mapping[str, Values]) -> Part:
            monkeypatch.setattr(packs, "write_part", write)
            other.commit(shard_rows(range(10, 13), [matrix]))
            return write(parts, datasets)

        def late(act: Callable[..., object]) -> object:
            monkeypatch.setattr(other, "in_turn", take_turn)
            erase(writer, np.array([8]))
            return take_turn(act)

        monkeypatch.setattr(packs, "write_part", interrupted)
        erase(writer, ROWS)
        monkeypatch.setattr(other, "in_turn", late)
        other.commit(shard_rows(range(13, 16), [matrix]))
    store = Store(folder)
    assert {row.tobytes() for row in store.sha256()[10:]} == {sha256(n) for n in range(10, 16)}
    assert np.flatnonzero(forgotten.forgotten(store)).tolist() == [*ROWS, 8]
    assert [trace for row in (*ROWS.tolist(), 8) for trace in traces(folder, of(row))] == []
    check_aligned({name: values for name, values in read_plain(folder).items() if not name.startswith("ensembles/")})
    assert verify(folder) == []


def test_what_was_made_of_erased_rows_before_is_not_published(folder: Path) -> None:
    """Values of columns that somebody has made of an older snapshot are refused: he looks again."""
    filled(folder)
    with StoreWriter(folder) as writer:
        read_own(before := writer.snapshot())
        tags = [tag(row.tobytes(), 3) for row in before.sha256()]
        erase(writer, ROWS)
        with pytest.raises(Overtaken):
            join(writer, [TAG], lambda start, stop: {"tag": tags[start:stop]}, store=before)
    assert verify(folder) == []
