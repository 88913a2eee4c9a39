"""Generations: what makes other vectors fills a new one, which takes over at once; what is old is kept or dropped."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pixelmill.cli.main import main
from pixelmill.errors import EmbeddingFailed
from pixelmill.report.model import RunReport
from pixelmill.report.text import sections
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.loaded import release_models
from pixelmill.run.prepare import prepare
from pixelmill.run.steps import run
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.generations import state, story
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.shards import embed_shard


class Library(BlockMeans):
    """A model of a library whose output changes with its version, here by what is added to one number."""

    shift = 0.0

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors = super().encode_image(pixels)
        vectors[:, 0] += Library.shift
        return vectors


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Of five pictures, by a model whose weights are in a file."""
    monkeypatch.setattr(STAND_INS, "kind", Library)
    monkeypatch.setattr(Library, "shift", 0.0)
    (tmp_path / "weights").write_bytes(b"first")
    for seed in range(5):
        save_picture(tmp_path / "photos" / f"{seed}.png", seed)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", shard_size=2, batch_size=2,
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def add(job: Job, save_picture: SavePicture, seed: int) -> RunReport:
    save_picture(Path(job.sources[0]) / f"{seed}.png", seed)
    return run(job)


def vectors(job: Job) -> np.ndarray:
    """What plain h5py reads as the served matrix."""
    with h5py.File(job.store / "vectors.h5") as file:
        found: np.ndarray = file["vectors/one"][:]
    return found


def states(job: Job) -> list[str]:
    manifest = Store(job.store).manifest
    return [state(manifest, matrix) for matrix in manifest.matrices]


def test_a_library_that_makes_other_vectors_starts_a_generation(job: Job, save_picture: SavePicture) -> None:
    """Weights and settings are the same, the vectors are not: what it makes now never joins what it made, fills a new
    matrix from all images, and the report says so loudly."""
    run(job)
    before = vectors(job)
    Library.shift = 5.0
    report = add(job, save_picture, 9)
    assert report.models["one"].embedded == 6
    check = report.self_check["one"]
    assert (check.compared, check.sound) == (5, False)
    assert check.least_cosine < 0.999
    assert any("does not make what is stored any more" in line for line in report.notable)
    after = vectors(job)
    assert len(after) == 6
    np.testing.assert_allclose(after[:5, 0] - before[:, 0], 5.0, atol=1e-5)
    assert states(job) == ["old", "serving"]
    old, new = Store(job.store).manifest.matrices
    assert (old.provenance.generation, new.provenance.generation) == (1, 2)
    assert old.provenance.fingerprint != new.provenance.fingerprint
    assert add(job, save_picture, 10).self_check["one"].sound
    assert states(job) == ["old", "serving"], "the next night goes on with it"


def test_going_back_goes_on_with_the_generation_before(job: Job, save_picture: SavePicture) -> None:
    """With the old library again, the old generation is filled up and served, not begun anew."""
    run(job)
    Library.shift = 5.0
    add(job, save_picture, 9)
    Library.shift = 0.0
    report = add(job, save_picture, 10)
    assert report.models["one"].embedded == 2
    assert states(job) == ["old", "serving"]
    assert Store(job.store)["one"].provenance.generation == 1
    assert np.isfinite(vectors(job)).all()


def test_what_is_too_small_to_matter_is_reported_as_drift(job: Job, save_picture: SavePicture) -> None:
    """From night to night the report tells how near the same images come; a fall within bounds is told, and mixes."""
    run(job)
    nights = [add(job, save_picture, 20 + night).self_check["one"] for night in range(2)]
    assert [len(night.before) for night in nights] == [0, 1]
    assert all(night.least_cosine > 0.99999 for night in nights)
    Library.shift = float(np.abs(vectors(job)).max()) * 0.02
    report = add(job, save_picture, 30)
    check = report.self_check["one"]
    assert check.sound
    assert 0.999 <= check.least_cosine < 0.9999
    assert [round(cosine, 4) for cosine in check.before] == [1.0, 1.0]
    assert any("drifts" in line for line in report.notable)
    (section,) = [section for section in sections(report) if section.title == "Self-check"]
    assert section.rows[0][1:3] == (str(check.compared), f"{check.least_cosine:.6f}")
    assert states(job) == ["serving"]


def test_the_sample_is_the_same_every_night(job: Job, save_picture: SavePicture) -> None:
    """The first images that are still there: new ones do not change it, removed ones make room for others."""
    run(job)
    for seed in range(20, 30):
        save_picture(Path(job.sources[0]) / f"{seed}.png", seed)
    run(job)
    Path(job.sources[0], "0.png").unlink()
    assert add(job, save_picture, 40).self_check["one"].compared == 7, "it is found gone in this run"
    assert add(job, save_picture, 41).self_check["one"].compared == 8


def test_a_worker_whose_vectors_differ_embeds_nothing(job: Job, save_picture: SavePicture) -> None:
    """Another machine's driver may differ from the planner's: its process compares before it adds, and stops."""
    run(job)
    save_picture(Path(job.sources[0]) / "9.png", 9)
    with StoreWriter(job.store) as writer:
        from pixelmill.run.scan import scan_sources

        scan = scan_sources(writer.ledger, job.sources)
        prepared = prepare(job, writer, scan.number)
        matrices, plan = list(prepared.matrices), prepared.plan
        release_models()  # what follows is another process
        Library.shift = 5.0
        with pytest.raises(EmbeddingFailed, match="Nothing was embedded here"):
            embed_shard(job, writer, matrices, scan.number, plan.shards[0])
    assert len(vectors(job)) == 5


def test_new_weights_fill_a_generation_that_takes_over_in_one_publish(job: Job, save_picture: SavePicture) -> None:
    """While it is filled the old one is served whole; a reader that looks all the time sees vectors of one generation
    only, and never fewer than before."""
    run(job)
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            store = Store(job.store)
            view = store["one"]
            values = view.take(np.flatnonzero(view.embedded))
            seen.append((len(values), len({view.provenance.weights_sha256})))

    reader = threading.Thread(target=look)
    reader.start()
    Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(b"second")
    late = run(job.model_copy(update={"deadline": 1.0}))
    assert late.models["one"].pending == 5
    assert states(job) == ["serving", "filling"]
    run(job)
    done.set()
    reader.join()
    assert states(job) == ["old", "serving"]
    assert {count for count, _ in seen} == {5}


def test_an_image_that_cannot_be_embedded_does_not_hold_up_the_switch(job: Job) -> None:
    """A picture that is broken by now, or refused, is no reason to serve the old generation for ever."""
    run(job)
    Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(b"second")
    broken = Path(job.sources[0]) / "0.png"
    broken.write_bytes(broken.read_bytes()[:90])
    run(job)
    assert states(job) == ["old", "serving"]


def test_old_generations_are_kept_or_dropped(job: Job) -> None:
    """Of three generations both old ones are kept, then none; the served one and its vectors stay as they are, the
    file loses the dataset, and the space is free once readers of older snapshots had their time."""
    for weights in (b"first", b"second", b"third"):
        Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(weights)
        run(job)
    assert states(job) == ["old", "old", "serving"]
    before, snapshot = vectors(job), Store(job.store)
    with StoreWriter(job.store) as writer:
        assert compact(writer, keep_generations=2, only_above=100).dropped == ()
        assert states(job) == ["old", "old", "serving"]
        assert len(compact(writer, keep_generations=0).dropped) == 2
    assert states(job) == ["serving"]
    np.testing.assert_array_equal(vectors(job), before)
    assert len(snapshot) == 5
    with h5py.File(job.store / "vectors.h5") as file:
        assert "generations" not in file
    parts = {name for part in Store(job.store).manifest.parts.values() for name in part.arrays if "vectors" in name}
    assert parts == {Store(job.store).manifest.matrices[0].vectors}, "no part holds what was dropped"
    run(job)
    np.testing.assert_array_equal(vectors(job), before)


def test_what_is_being_filled_is_never_dropped(job: Job) -> None:
    """A generation that a deadline cut off is not old."""
    run(job)
    Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(b"second")
    run(job.model_copy(update={"deadline": 1.0}))
    with StoreWriter(job.store) as writer:
        assert compact(writer, keep_generations=0).dropped == ()
    assert states(job) == ["serving", "filling"]


def test_info_tells_the_story(job: Job, save_picture: SavePicture, capsys: pytest.CaptureFixture[str]) -> None:
    """Each generation, what it is to readers, and what sets it apart from the one before."""
    run(job)
    assert list(story(Store(job.store).manifest)) == []
    Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(b"second")
    run(job)
    Library.shift = 5.0
    add(job, save_picture, 9)

    def told(*flags: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["info", str(job.store), *flags])
        assert stop.value.code == 0
        return capsys.readouterr().out

    lines = [line for line in told().splitlines() if ", generation " in line]
    assert "generation 1 of 3" in lines[0]
    assert "old" in lines[0]
    assert "weights_sha256" in lines[1]
    assert "served; differs in other vectors from the same weights" in lines[2]
    found: dict[str, Any] = json.loads(told("--json"))
    assert [matrix["state"] for matrix in found["matrices"]] == ["old", "old", "serving"]
    assert found["generations"] == lines
    Path("pixelmill.toml").write_text("[run]\nkeep_generations = 0\n")
    with pytest.raises(SystemExit) as stop:
        main(["compact", str(job.store)])
    assert stop.value.code == 0
    assert "Dropped generations/one/" in capsys.readouterr().out
    assert states(job) == ["serving"]
