"""What the memory of each stage grows by with the rows of a store, measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL, LARGE = 20_000, 100_000
MOST = {
    "discover": 50,
    "plan, all new": 50,
    "commit": 50,
    "settle": 50,
    "plan, nothing": 50,
    "open": 50,
    "rebuild ledger": 50,
}
"""Bytes of own memory a row that a stage may take more: one list or set of all paths takes 100 or more."""
MOVED = 100_000, 300_000
"""More rows than the 65,536 whose paths are published at once: what these take still grows where there are fewer."""
MOST_MOVED = 300
"""A moved row's number takes about 90 bytes (docs/scale.md), and all that is known of each at once took 742. Between these,
with room for what a measurement by samples sees of the peaks of blocks: two of them gave 130 and 227."""
STAGE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import scale
from pixelmill.store.scans import Scans
if sys.argv.pop(1) == "hoard":
    record = Scans.record
    Scans.record = lambda self, scan, files: record(self, scan, list(files))
scale.main()
"""


def own_bytes(folder: Path, rows: int, stage: str, *, hoard: bool = False) -> float:
    """The most memory, in bytes, that one stage of the benchmark held for itself."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", STAGE, str(BENCHMARKS), "hoard" if hoard else "stream", "--stage", stage]
    command += ["--folder", str(folder), "--rows", str(rows), "--shard", "4096"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout)["own_mb"]) * 2**20


def growth(measured: Callable[[int], float], small: int = SMALL, large: int = LARGE) -> float:
    """Bytes a row between a small and a large number of rows."""
    return (measured(large) - measured(small)) / (large - small)


@pytest.mark.slow
def test_no_stage_holds_every_row(tmp_path: Path) -> None:
    """Discovery, planning, commit and open take a few bytes more for each row of the store, never a list of all."""
    for stage, most in MOST.items():
        found = growth(lambda rows, stage=stage: own_bytes(tmp_path / str(rows), rows, stage))  # type: ignore[misc]
        assert found < most, f"{stage}: {found:.0f} bytes a row"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_has_moved_is_published_block_by_block(tmp_path: Path) -> None:
    """Where every image has moved, the end of the run holds the numbers of their rows, not all their paths at once."""

    def measured(rows: int) -> float:
        for stage in ("discover", "plan, all new", "fill", "commit", "settle", "move"):
            own_bytes(tmp_path / str(rows), rows, stage)
        return own_bytes(tmp_path / str(rows), rows, "settle, moved")

    found = growth(measured, *MOVED)
    assert found < MOST_MOVED, f"{found:.0f} bytes a row"


@pytest.mark.slow
def test_the_measurement_sees_a_list_of_all_files(tmp_path: Path) -> None:
    """Control: a discovery that gathers the files before it records them exceeds the bound."""
    assert growth(lambda rows: own_bytes(tmp_path / str(rows), rows, "discover", hoard=True)) > 2 * MOST["discover"]
