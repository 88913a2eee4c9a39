"""Look-alikes of a store: who is compared, which to keep, the column, nights, kills."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pixelmill.cli.main import cli
from pixelmill.curation import duplicates as module
from pixelmill.curation.duplicates import Duplicates, find_duplicates, keep_up
from pixelmill.curation.keep import Keep
from pixelmill.curation.stars import NOBODY
from pixelmill.curation.state import FOLDER, made_of
from pixelmill.curation.told import as_csv, groups
from pixelmill.errors import UnknownColumn, UnknownModel
from pixelmill.sources.found import FoundFile
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, ShardRows, Vectors
from pixelmill.store.verify import verify
from tests.support.columns import add_columns, clock
from tests.support.stores import provenance, sha256

DIM = 8
SOURCE = "/photos"


def values_of(rows: int, seed: int = 0) -> np.ndarray:
    """Heaps of about five look-alikes."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((rows // 5 + 1, DIM))
    values: np.ndarray = centres[random.integers(0, len(centres), rows)] + 0.08 * random.standard_normal((rows, DIM))
    return values.astype(np.float32)


def add(folder: Path, values: np.ndarray, sizes: np.ndarray, first: int = 0, version: int = 0) -> None:
    """Rows with these vectors (NaN: none), pictures that are as wide and as many bytes as told."""
    with StoreWriter(folder) as writer:
        made = provenance("a", dim=DIM, version=version)
        writer.matrix(made, "float32")
        numbers = range(first, first + len(values))
        files = [
            FoundFile(SOURCE, f"{n}.png", int(size), 10**18 + n, 1) for n, size in zip(numbers, sizes, strict=True)
        ]
        writer.ledger.scans.record(writer.ledger.scans.begin(), files)
        there = np.flatnonzero(np.isfinite(values).all(axis=1))
        contents = [Content(file, sha256(n), int(size), 1) for file, n, size in zip(files, numbers, sizes, strict=True)]
        writer.commit(ShardRows(contents, {made.fingerprint: Vectors(there, values[there])}))
        writer.serve([made.fingerprint])


def gone(folder: Path, rows: list[int]) -> None:
    with StoreWriter(folder) as writer:
        for row in rows:
            writer.ledger.scans.mark_path_gone(os.fsencode(f"{SOURCE}/{row}.png"))
        writer.update_locations(rows)


def found(folder: Path, *, keep: Keep = "largest", threshold: float = 0.97) -> Duplicates:
    with StoreWriter(folder) as writer:
        return find_duplicates(writer, keep=keep, threshold=threshold)


def column(folder: Path) -> list[int]:
    values = Store(folder).columns["duplicate_of"]
    return [NOBODY if value == MISSING_INT else int(value) for value in values]


def by_hand(values: np.ndarray, sizes: np.ndarray, threshold: float = 0.97) -> list[int]:
    """For each row the one that is kept for it, by the words of docs/curate.md."""
    unit = values.astype(np.float64) / np.linalg.norm(values, axis=1, keepdims=True)
    owners, kept = [NOBODY] * len(values), list[int]()
    for row in sorted(range(len(values)), key=lambda row: (-sizes[row], row)):
        if not np.isfinite(unit[row]).all():
            continue
        owners[row] = next((k for k in kept if unit[k] @ unit[row] >= threshold - 1e-6), NOBODY)
        kept += [row] if owners[row] == NOBODY else []
    return owners


@pytest.fixture
def sizes() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 40, 300)


def test_the_column_is_that_of_brute_force(tmp_path: Path, sizes: np.ndarray) -> None:
    """Rows without a vector are in no group; nor is one whose file is gone, which keeps its place and its vector."""
    values = values_of(300)
    values[::17] = np.nan
    add(tmp_path / "store", values, sizes)
    assert found(tmp_path / "store").owners.tolist() == by_hand(values, sizes)
    assert column(tmp_path / "store") == by_hand(values, sizes)
    doomed = [3, *{owner for owner in column(tmp_path / "store") if owner != NOBODY}][:20]
    gone(tmp_path / "store", doomed)
    before, values[doomed] = column(tmp_path / "store"), np.nan
    found(tmp_path / "store")
    assert column(tmp_path / "store") == by_hand(values, sizes) != before
    assert verify(tmp_path / "store") == []


@pytest.mark.parametrize("seed", range(4))
def test_a_night_brings_the_column_up_to_date(
    tmp_path: Path, sizes: np.ndarray, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come and go: the column is what it would be had all been looked at, and not all are."""
    values = values_of(300, seed)
    add(tmp_path / "store", values[:250], sizes[:250])
    with StoreWriter(tmp_path / "store") as writer:
        assert keep_up(writer) == ()
        assert "duplicate_of" not in Store(tmp_path / "store").columns, "nobody has asked for it"
    before = found(tmp_path / "store").owners.tolist()
    add(tmp_path / "store", values[250:], sizes[250:], 250)
    doomed = [3, *{owner for owner in before if owner != NOBODY}][:20]
    gone(tmp_path / "store", doomed)
    monkeypatch.setattr(module, "_anew", None)
    with StoreWriter(tmp_path / "store") as writer:
        assert keep_up(writer) == ()
    values[doomed] = np.nan
    assert column(tmp_path / "store") == by_hand(values, sizes)
    assert column(tmp_path / "store")[:250] != before


def test_another_generation_makes_the_groups_anew(tmp_path: Path, sizes: np.ndarray) -> None:
    """As soon as it is served; what the column is made of says so, with the threshold and what is kept."""
    add(tmp_path / "store", values_of(300), sizes)
    found(tmp_path / "store", threshold=0.98)
    other = values_of(300, 9)
    with StoreWriter(tmp_path / "store") as writer:
        made = provenance("a", dim=DIM, version=1)
        writer.matrix(made, "float32")
        contents = [Content(FoundFile(SOURCE, f"{n}.png", int(s), 10**18 + n, 1), sha256(n), int(s), 1)
                    for n, s in enumerate(sizes)]  # fmt: skip
        writer.commit(ShardRows(contents, {made.fingerprint: Vectors(np.arange(300), other)}))
        writer.serve([made.fingerprint])
        assert keep_up(writer) == ()
    assert column(tmp_path / "store") == by_hand(other, sizes, 0.98)
    now = made_of(Store(tmp_path / "store"))
    assert now is not None
    assert (now.fingerprint, now.threshold, now.keep) == (made.fingerprint, 0.98, "largest")


def test_a_record_that_is_lost_or_broken_costs_going_through_all(tmp_path: Path, sizes: np.ndarray) -> None:
    """And nothing else."""
    values = values_of(300)
    add(tmp_path / "store", values[:200], sizes[:200])
    found(tmp_path / "store")
    (record,) = (tmp_path / "store" / FOLDER).iterdir()
    for broken in (b"", b"PK\x03\x04" + bytes(100), record.read_bytes()[:-200]):
        record.write_bytes(broken)
        found(tmp_path / "store")
    record.unlink()
    add(tmp_path / "store", values[200:], sizes[200:], 200)
    with StoreWriter(tmp_path / "store") as writer:
        assert keep_up(writer) == ()
    assert column(tmp_path / "store") == by_hand(values, sizes)


def test_a_night_whose_time_is_up_leaves_the_column_and_says_so(tmp_path: Path, sizes: np.ndarray) -> None:
    """The next one makes up for it."""
    values = values_of(300)
    add(tmp_path / "store", values[:250], sizes[:250])
    before = found(tmp_path / "store").owners.tolist()
    add(tmp_path / "store", values[250:], sizes[250:], 250)
    with StoreWriter(tmp_path / "store") as writer:
        (warning,) = keep_up(writer, deadline=1.0)
        assert "stays as it was" in warning
        assert column(tmp_path / "store") == [*before, *[NOBODY] * 50]
        assert keep_up(writer) == ()
    assert column(tmp_path / "store") == by_hand(values, sizes)


KILLED = """
import os, signal, sys
from pathlib import Path
from pixelmill.curation import duplicates, near
from pixelmill.store import column_writer, durable
from pixelmill.store.commit import StoreWriter

def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[2]
if where == "compare":
    duplicates.stars = die
elif where == "part":
    whole = column_writer.write_part
    column_writer.write_part = lambda *args: (whole(*args), die())
else:
    duplicates.keep_state = die
with StoreWriter(Path(sys.argv[1])) as writer:
    duplicates.find_duplicates(writer, threshold=0.9)
"""


@pytest.mark.parametrize("where", ["compare", "part", "record"])
def test_a_kill_leaves_the_old_column_or_the_new_one(tmp_path: Path, sizes: np.ndarray, where: str) -> None:
    """Before the new one is published the old one, whole; after it the new one; and the next time all is well."""
    values = values_of(300)
    add(tmp_path / "store", values, sizes)
    found(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "store"), where], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert column(tmp_path / "store") == by_hand(values, sizes, 0.9 if where == "record" else 0.97)
    found(tmp_path / "store", threshold=0.9)
    assert column(tmp_path / "store") == by_hand(values, sizes, 0.9)


def test_which_to_keep_and_why(tmp_path: Path) -> None:
    """Five pictures that look the same: the largest, the oldest and the sharpest are others each; of equals the first
    row. What is not known comes last."""
    add(tmp_path / "store", np.ones((5, DIM), np.float32), np.array([10, 30, 30, 20, 5]))
    taken = [clock("2024-01-01T10:00"), None, clock("2024-01-01T09:59"), None, None]
    add_columns(
        tmp_path / "store", {"taken_at": taken, "sharpness": [1.0, 2.0, None, 7.25, 7.25]},
        {"taken_at": "ms since 1970, camera's clock"},
    )  # fmt: skip
    expected = {"largest": (1, "the largest: 30 pixels, 30 bytes"), "sharpest": (3, "the sharpest: sharpness 7.2")}
    expected["oldest"] = (1, "the oldest: 2001-09-09 01:46:40")  # the change of its file, before any was taken
    for keep, (row, why) in expected.items():
        (group,) = groups(found(tmp_path / "store", keep=keep))  # type: ignore[arg-type]
        first, *others = group
        assert (first.row, first.keep, first.why) == (row, True, why)
        assert sorted(one.row for one in others) == sorted({0, 1, 2, 3, 4} - {row})
        assert {(one.keep, one.similarity) for one in others} == {(False, 1.0)}


def test_what_cannot_be_is_told_in_words(tmp_path: Path, sizes: np.ndarray) -> None:
    """A store without facts has no sharpest picture; a model that it has not is named with the nearest."""
    add(tmp_path / "store", values_of(300), sizes)
    with pytest.raises(UnknownColumn, match="run --facts"):
        found(tmp_path / "store", keep="sharpest")
    with StoreWriter(tmp_path / "store") as writer, pytest.raises(UnknownModel):
        find_duplicates(writer, model="b")
    assert "duplicate_of" not in Store(tmp_path / "store").columns


def test_beyond_so_many_rows_cells_are_looked_into(tmp_path: Path, sizes: np.ndarray) -> None:
    """And what share of look-alikes is found is measured; each duplicate looks like the one that is kept for it."""
    values = values_of(300)
    add(tmp_path / "store", values, sizes)
    with StoreWriter(tmp_path / "store") as writer:
        made = find_duplicates(writer, exact_up_to=299)
        assert 0.9 < made.recall <= 1
        assert made.similarities(made.duplicates).min() >= 0.97 - 2e-6
        assert find_duplicates(writer, threshold=0.9701).recall == 1.0


def test_the_command_prints_groups_and_writes_them(tmp_path: Path, sizes: np.ndarray) -> None:
    """As a table, as JSON, as CSV: a line for each picture of a group, the one to keep first."""
    values = values_of(300)
    add(tmp_path / "store", values, sizes)
    owners = by_hand(values, sizes)
    out, runner = tmp_path / "keep.csv", CliRunner()
    done = runner.invoke(cli, ["duplicates", str(tmp_path / "store"), "--out", str(out), "--show", "1"])
    assert done.exit_code == 0, done.output
    kept = {owner for owner in owners if owner != NOBODY}
    would_go = sum(owner != NOBODY for owner in owners)
    assert f"{len(kept)} groups: the largest of each to keep, {would_go} pictures like it." in done.output
    assert "Nothing was deleted" in done.output
    lines = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(lines) == len(kept) + would_go
    assert {int(line["row"]) for line in lines if line["keep"] == "yes"} == kept
    assert all(line["path"] == f"{SOURCE}/{line['row']}.png" for line in lines)
    assert all(float(line["similarity"]) >= 0.97 for line in lines)
    told = json.loads(runner.invoke(cli, ["duplicates", str(tmp_path / "store"), "--json"]).output)
    assert (told["compared"], told["recall"], told["keep"], len(told["groups"])) == (300, 1.0, "largest", len(kept))
    assert [p["row"] for g in told["groups"] for p in g["pictures"]] == [int(line["row"]) for line in lines]


def test_names_that_are_no_utf_8_are_written_as_they_are(tmp_path: Path) -> None:
    """CSV has the bytes that the file system has."""
    with StoreWriter(tmp_path / "store") as writer:
        made = provenance("a", dim=DIM)
        writer.matrix(made, "float32")
        files = [FoundFile(SOURCE, os.fsdecode(b"\xff%d.png" % n), 1, 1, 1) for n in range(2)]
        writer.ledger.scans.record(writer.ledger.scans.begin(), files)
        vectors = Vectors(np.arange(2), np.ones((2, DIM), np.float32))
        writer.commit(
            ShardRows([Content(f, sha256(n), 1, 1) for n, f in enumerate(files)], {made.fingerprint: vectors})
        )
    assert b"/photos/\xff1.png" in as_csv(found(tmp_path / "store"))


def test_a_store_whose_files_are_all_gone_has_no_groups(tmp_path: Path) -> None:
    """And an empty column, from which the next night goes on."""
    values, few = np.ones((3, DIM), np.float32), np.array([3, 2, 1])
    add(tmp_path / "store", values, few)
    found(tmp_path / "store")
    assert column(tmp_path / "store") == [NOBODY, 0, 0]
    gone(tmp_path / "store", [0, 1, 2])
    with StoreWriter(tmp_path / "store") as writer:
        assert keep_up(writer) == ()
    assert column(tmp_path / "store") == [NOBODY] * 3
