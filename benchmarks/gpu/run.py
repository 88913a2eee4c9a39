"""The whole run, from files to a published store, by one process and by two that share the GPU."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.gpu import decode, model
from benchmarks.gpu.cells import CONTEXT, Cells, Figure, Key, NotMeasured, Setting
from benchmarks.gpu.models import cache_of, random_spec
from benchmarks.gpu.pictures import FOLDERS
from pixelmill.report.model import RunReport
from pixelmill.run.direct import run_here
from pixelmill.run.job import Job
from pixelmill.run.measure import NIGHTLY
from pixelmill.run.options import RunOptions

TABLE = "run"


def cells(setting: Setting) -> Cells:
    """Images/s of each model, a share of the slower of its two stages alone. What matters most comes first."""
    default, large = RunOptions().batch_size, setting.batches[-1]
    first, *others = setting.sizes
    ways = [
        (first, 1, large), *((title, 1, large) for title in others),
        (first, FOLDERS, large), (first, 1, default),
    ]  # fmt: skip
    return {
        Key(TABLE, _row(*way), name): partial(_rate, setting, name, *way) for way in ways for name in setting.models
    }


def in_one_process(setting: Setting, title: str, name: str) -> Key:
    """The cell with the run over a size."""
    return Key(TABLE, _row(title, 1, setting.batches[-1]), name)


def _row(title: str, processes: int, batch: int) -> str:
    return f"{title}, {processes} process{'es' if processes > 1 else ''}, batches of {batch}"


def _rate(setting: Setting, name: str, title: str, processes: int, batch: int) -> Figure:
    """Of two processes, both together: each has half of the pictures, and a store."""
    photos = setting.photos(title)
    sources = [photos] if processes == 1 else [photos / str(number) for number in range(processes)]
    share = setting.threads // processes
    # New processes each time: the one before may have models loaded, and memory of the GPU.
    with ProcessPoolExecutor(processes, mp_context=CONTEXT) as pool:
        reports = list(pool.map(partial(_run, setting, name, batch, max(1, share)), sources))
    (made,) = reports[0].models.values()
    of = Key(decode.TABLE, decode.sandbox_row(setting), title), model.alone(name, made.precision, setting.batches[-1])
    start = max(report.seconds - _working(report) for report in reports)
    return Figure(sum(map(_images_per_second, reports)), of, f"{made.precision}, start {start:.0f} s")


def _run(setting: Setting, name: str, batch: int, threads: int, source: Path) -> RunReport:
    job = Job(
        sources=(str(source),), store=Path(mkdtemp(dir=setting.folder)) / "store", specs=(random_spec(setting, name),),
        cache=cache_of(setting), device=setting.device, batch_size=batch, threads=threads, facts=False, beside=False,
    )  # fmt: skip
    return run_here(job)


def _working(report: RunReport) -> float:
    """Seconds of embedding and publishing; what comes before is the start of the process and the model."""
    return report.steps["embed"] + report.steps["publish"]


def _images_per_second(report: RunReport) -> float:
    (made,) = report.models.values()
    if made.embedded <= NIGHTLY:
        raise NotMeasured(f"a run embedded {made.embedded} images")
    return (made.embedded - NIGHTLY) / _working(report)  # the first ones are made where the matrix is settled
