"""Workers of a cluster that are no help: other libraries, no pictures to see. They are named, and others do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixelmill.errors import ModelsLeftOut
from pixelmill.report.model import RunReport
from pixelmill.run.direct import run_here
from pixelmill.run.job import Job
from pixelmill.store.ledger import Ledger
from tests.conftest import SavePicture
from tests.remote.backend import LOG, ODD, embedded, spec_of
from tests.remote.clusters import Dask
from tests.remote.conftest import IMAGES, MODEL
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


@pytest.fixture
def dask(tmp_path: Path, env: dict[str, str]) -> Iterator[Dask]:
    with Dask(tmp_path, env) as dask:
        yield dask


def log_of(job: Job, name: str) -> Path:
    return job.store.parent / f"{name}.log.txt"


def start(dask: Dask, job: Job, name: str, there: Namespace | None = None, **variables: str) -> str:
    """A worker that logs what it embeds; how a report names its process."""
    process = dask.worker(name, there, **{LOG: str(log_of(job, name))} | variables)
    return f"process {process.pid} on "


def naming(report: RunReport, process: str) -> list[str]:
    return [warning for warning in report.warnings if process in warning]


@pytest.mark.parametrize("first_night", [True, False])
def test_a_worker_with_other_libraries(
    first_night: bool, dask: Dask, job: Job, save_picture: SavePicture, assert_as_inline: Callable[[Job], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of two workers side by side one makes vectors at cosine 0.95 to the other's: what is stored comes from one of them
    alone, and the other is named with its process. On an existing matrix the odd one embeds nothing but the sample that
    it is measured by; on the first night of a new one either of them may be the first, and is the measure."""
    if not first_night:
        run_here(job)
        for seed in range(IMAGES, 2 * IMAGES):
            save_picture(job.store.parent / "photos" / f"{seed:02}.png", seed, (16, 16))
    sound, odd = start(dask, job, "sound"), start(dask, job, "odd", **{ODD: "1"})
    dask.wait(2)
    report = run_here(job.model_copy(update={"fan_out": "dask", "cluster": dask.address, "shard_size": 1}))
    assert report.models[MODEL].pending == 0
    (told,) = [warning for warning in report.warnings if "come out otherwise (least cosine 0.95" in warning]
    assert bool(naming(report, sound)) != bool(naming(report, odd)), report.warnings
    if not first_night:
        assert odd in told
        assert embedded(log_of(job, "odd")) <= 16, "it embedded more than the sample"
    if sound in told:
        monkeypatch.setenv(ODD, "1")
    assert_as_inline(job)


def test_a_worker_that_sees_no_pictures(dask: Dask, job: Job, assert_as_inline: Callable[[Job], None]) -> None:
    """Of four workers one has not mounted the pictures' disk: the three others do all, and the report names it."""
    with Namespace(hidden=[job.store, job.store.parent / "photos"]) as there:
        blind = start(dask, job, "blind", there)
        dask.wait(1)  # so that it is asked first
        for name in ("one", "two", "three"):
            start(dask, job, name)
        dask.wait(4)
        report = run_here(job.model_copy(update={"fan_out": "dask", "cluster": dask.address, "shard_size": 1}))
    assert report.models[MODEL].pending == 0
    (told,) = naming(report, blind)
    assert "none of its" in told
    assert "Does it see them?" in told
    assert embedded(log_of(job, "blind")) == 0
    assert_as_inline(job)


def test_a_model_that_no_worker_can_load(dask: Dask, job: Job, assert_as_inline: Callable[[Job], None]) -> None:
    """The weights of one of two models lie where no worker sees them: of the other all is embedded, and the run fails with
    what brings weights."""
    here = job.store.parent / "here"
    here.mkdir()
    both = job.model_copy(update={"specs": (*job.specs, spec_of("second", here))})
    with Namespace(hidden=[job.store, here]) as there:
        for name in ("left", "right"):
            start(dask, job, name, there)
        dask.wait(2)
        with pytest.raises(ModelsLeftOut, match="second could not be had") as raised:
            run_here(both.model_copy(update={"fan_out": "dask", "cluster": dask.address}))
    assert "`pixelmill pull second`" in str(raised.value)
    assert "`pixelmill weights bundle`" in str(raised.value)
    assert embedded(log_of(job, "left")) + embedded(log_of(job, "right")) >= IMAGES
    with Ledger(job.store) as ledger:
        (kept,) = ledger.runs.last()
    assert {model: found["pending"] for model, found in kept["models"].items()} == {MODEL: 0, "second": IMAGES}
    assert_as_inline(job)
