"""The flows, run for real against a real Prefect API; then the store is looked at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from prefect import Task
from safetensors.numpy import save_file

from flows.maintain import maintain
from flows.vectorize import AS_TASKS, vectorize
from pixelmill import catalog
from pixelmill.errors import DeviceUnavailable, SourceError, StoreDamaged, UnknownModel
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.plan import Shard
from pixelmill.report.model import PendingCount
from pixelmill.run.intake import Intake
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.travel.shard_order import ShardOrder
from tasks._artifacts import key_of
from tests.conftest import SavePicture
from tests.support.artifacts import artifacts_of
from tests.support.server import WeightsServer

pytestmark = pytest.mark.usefixtures("prefect_api")
MODEL = "efficientnet_lite0"


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Six different pictures in two folders, one of them a JPEG, and a text file."""
    folder = tmp_path / "photos"
    for seed in range(5):
        save_picture(folder / f"{'ab'[seed % 2]}/{seed}.png", seed)
    save_picture(folder / "large.jpg", 9, (900, 600))
    (folder / "notes.txt").write_text("no picture")
    return folder


def upstream_vector(path: Path) -> np.ndarray:
    """What the upstream model and transform give for a file, float32 (1280,)."""
    model = load(catalog.get(MODEL), WeightsCache(Path("cache")))
    with torch.inference_mode():
        vector: np.ndarray = model.module(model.reference_preprocess(Image.open(path).convert("RGB"))[None])[0].numpy()
    return vector


def test_a_run_fills_the_store_with_upstreams_vectors(photos: Path, tmp_path: Path) -> None:
    """After one run plain h5py finds each picture's row, and in it the vector that upstream's own call gives."""
    report = vectorize([str(photos)], store="store", precision="float32", decode="reference")
    assert report.images.model_dump() == {
        "seen": 6, "new": 6, "changed": 0, "moved": 0, "duplicate": 0, "removed": 0, "quarantined": 0,
    }  # fmt: skip
    with h5py.File("store/vectors.h5") as file:
        paths = list(file["images/path"].asstr()[:])
        vectors = file[f"vectors/{MODEL}"][:]
        assert file[f"vectors/{MODEL}"].attrs["precision"] == "float32"
        assert set(file["images/source"].asstr()[:]) == {str(photos)}
    assert sorted(paths) == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "large.jpg"]
    for path, vector in zip(paths, vectors, strict=True):
        np.testing.assert_allclose(vector, upstream_vector(photos / path), rtol=1e-3, atol=1e-4)


def test_a_second_run_makes_no_model_call(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing new no model is even loaded, and the store's file stays as it is."""
    vectorize([str(photos)], store="store", precision="float32")
    before = Path("store/vectors.h5").read_bytes()
    monkeypatch.setattr("pixelmill.run.loaded.load_file", lambda *_args, **_kwargs: pytest.fail("a model was loaded"))
    report = vectorize([str(photos)], store="store", precision="float32")
    assert report.models[MODEL].embedded == 0
    assert report.models[MODEL].pending == 0
    assert report.bottleneck is None
    assert Path("store/vectors.h5").read_bytes() == before


def test_changes_on_disk_are_counted_and_published(photos: Path, save_picture: SavePicture) -> None:
    """New, changed, moved, copied and deleted files are told apart, and the store says where each content is now."""
    vectorize([str(photos)], store="store", precision="float32")
    save_picture(photos / "new.png", 100)
    save_picture(photos / "a/0.png", 101)
    (photos / "b/1.png").rename(photos / "moved.png")
    shutil.copy(photos / "a/2.png", photos / "copy.png")
    (photos / "a/4.png").unlink()
    report = vectorize([str(photos)], store="store", precision="float32")
    assert report.images.model_dump() == {
        "seen": 7, "new": 1, "changed": 1, "moved": 1, "duplicate": 1, "removed": 1, "quarantined": 0,
    }  # fmt: skip
    assert report.models[MODEL].embedded == 2
    paths = [os.fsdecode(path) for path in Store("store").paths]
    assert sorted(paths) == ["", "", "a/0.png", "a/2.png", "b/3.png", "large.jpg", "moved.png", "new.png"]


def test_one_bad_image_costs_only_itself(photos: Path) -> None:
    """A broken file is quarantined with its stage and reason; the others of its batch are embedded."""
    (photos / "broken.jpg").write_bytes((photos / "large.jpg").read_bytes()[:400])
    (photos / "page.jpg").write_text("<html><body>Not found</body></html>")
    report = vectorize([str(photos)], store="store", precision="float32")
    assert report.images.quarantined == 2
    assert report.models[MODEL].embedded == 6
    assert report.exceeded_failure_rate
    again = vectorize([str(photos)], store="store", precision="float32")
    assert again.images.quarantined == 2
    assert not again.exceeded_failure_rate, "nothing was refused in this run"


def test_a_second_model_fills_a_new_matrix_and_touches_no_other(photos: Path, own_resnet: str) -> None:
    """A model that joins later is embedded for the same rows; the first matrix keeps its bytes."""
    vectorize([str(photos)], store="store", precision="float32")
    before = Store("store")[MODEL].read()
    report = vectorize([str(photos)], models=[MODEL, own_resnet], store="store", precision="float32")
    assert report.models[MODEL].embedded == 0
    assert report.models[own_resnet].embedded == 6
    store = Store("store")
    np.testing.assert_array_equal(store[MODEL].read(), before)
    both = store.concatenated([own_resnet, MODEL]).read()
    np.testing.assert_array_equal(both, np.hstack([store[own_resnet].read(), before]))


def test_bad_input_is_refused_before_a_store_is_made(photos: Path) -> None:
    """A wrong model name, source or device is told in words, and leaves nothing behind."""
    with pytest.raises(UnknownModel, match="Did you mean 'efficientnet_lite0'"):
        vectorize([str(photos)], models=["efficientnet_lite"], store="store")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceUnavailable, match="Expected device 'gpu'"):
            vectorize([str(photos)], device="gpu", store="store")
    assert not Path("store").exists()
    with pytest.raises(SourceError, match="nowhere"):
        vectorize(["nowhere"], store="store")


def test_a_deadline_that_is_over_leaves_everything_pending(photos: Path) -> None:
    """A run past its deadline ends well with an openable store; the next one does the rest."""
    report = vectorize([str(photos)], store="store", precision="float32", deadline="0s")
    assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (0, 6)
    assert len(Store("store")) == 0
    assert vectorize([str(photos)], store="store").models[MODEL].embedded == 6


def test_a_dry_run_makes_nothing(photos: Path) -> None:
    """--dry-run counts what is missing and writes no store."""
    report = vectorize([str(photos)], store="store", dry_run=True)
    assert report.models == {MODEL: PendingCount(pending=6)}
    assert not Path("store").exists()


def test_the_run_leaves_its_report_as_an_artifact(photos: Path, tmp_path: Path) -> None:
    """The Prefect UI gets the report as Markdown, and the gallery's address where the settings name one that is up."""
    gallery = WeightsServer(tmp_path)  # any HTTP server: "not found" is an answer too
    Path("pixelmill.toml").write_text(f'[web]\nurl = "{gallery.url}"\n')
    with gallery.running():
        up = artifacts_of(vectorize([str(photos)], store="store", precision="float32", return_state=True))
    down = artifacts_of(vectorize([str(photos)], store="store", return_state=True))
    progress, report, link = (key_of(kind, "store") for kind in ("progress", "report", "gallery"))
    assert set(up) == {progress, report, link}
    assert f"| `{MODEL}` | 6 | 0 | 100% |" in up[report]
    assert f"({gallery.url})" in up[report]
    assert up[link] == f"[The gallery]({gallery.url})"
    assert set(down) == {report}
    assert gallery.url not in down[report]


def test_a_server_that_is_too_busy_to_show_it_costs_no_work(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Progress and report in the UI are nothing that a run depends on: it completes, and says what could not be shown."""

    def busy(*_: object, **__: object) -> None:
        raise RuntimeError("database is locked")

    monkeypatch.setattr("tasks.report.create_markdown_artifact", busy)
    monkeypatch.setattr("tasks._progress.update_progress_artifact", busy)
    monkeypatch.setattr("tasks._progress._EVERY", 0.0)
    monkeypatch.setattr("tasks._artifacts._told", {})
    report = vectorize([str(photos)], store="store", precision="float32")
    assert report.models[MODEL].embedded == 6
    for what in ("progress", "report"):
        assert f"{what} could not be shown in the Prefect UI: RuntimeError: database is locked" in caplog.text


def test_a_missing_gpu_is_replaced_where_the_settings_say_so(photos: Path) -> None:
    """Also in the process of the run: the CPU does its work, and the report says so."""
    if torch.cuda.is_available():
        pytest.skip("This machine has a GPU.")
    Path("pixelmill.toml").write_text('[run]\ndevice = "gpu"\nmissing_device = "cpu"\n')
    report = vectorize([str(photos)], store="store", precision="float32")
    assert report.models[MODEL].embedded == 6
    assert report.models[MODEL].device == "cpu"
    assert any("Expected device 'gpu'" in w and "The CPU does its work" in w for w in report.warnings)


def test_maintenance_merges_parts_and_refuses_a_damaged_store(photos: Path, save_picture: SavePicture) -> None:
    """`maintain` verifies, then compacts; damage fails the run and names the part."""
    vectorize([str(photos)], store="store", precision="float32")
    save_picture(photos / "new.png", 100)
    vectorize([str(photos)], store="store", precision="float32")
    before = Store("store")[MODEL].read()
    state = maintain("store", return_state=True)
    assert state.result() == {"parts_before": 2, "parts_after": 1, "deleted": 0, "dropped": 0}
    assert state.message == "Sound: 7 images. 2 parts became 1."
    assert artifacts_of(state)[key_of("maintain", "store")].startswith("Sound: 7 images. 2 parts became 1.")
    np.testing.assert_array_equal(Store("store")[MODEL].read(), before)
    part = next(iter(Store("store").manifest.used_parts()))
    content = bytearray(Path("store/parts", part).read_bytes())
    content[len(content) // 2] ^= 1
    Path("store/parts", part).write_bytes(content)
    with pytest.raises(StoreDamaged, match=part):
        maintain("store")


def test_a_long_run_keeps_its_plan(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty other scans, of runs that were killed, between a run's plan and its first shard: it embeds all the same."""
    real = Intake.order

    def order(intake: Intake, shard: Shard, fingerprints: Sequence[str]) -> ShardOrder:
        for _ in range(60):
            with Ledger(Path("store")) as ledger:
                ledger.scans.begin()
        return real(intake, shard, fingerprints)

    monkeypatch.setattr(Intake, "order", order)
    report = vectorize([str(photos)], store="store", precision="float32")
    assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (6, 0)


def test_heads_are_a_step_of_the_night(photos: Path) -> None:
    """A task of its own after publishing, whose columns are in the store; the report in the browser tells of it."""
    weight = np.random.default_rng(0).standard_normal((2, 1280)).astype(np.float32)
    save_file({"weight": weight}, "tone.safetensors", metadata={"labels": '["warm", "cold"]'})
    Path("pixelmill.toml").write_text(
        f'[heads.tone]\nkind = "file"\nmodel = "{MODEL}"\nfile = "tone.safetensors"\n'
    )  # fmt: skip
    state = vectorize([str(photos)], store="store", precision="float32", return_state=True)
    assert state.result().heads[0].rows == 6
    logits = Store("store")[MODEL].read() @ weight.T
    assert list(Store("store").columns["tone"]) == [("warm", "cold")[n] for n in logits.argmax(axis=1)]
    assert "| `tone` | file |" in artifacts_of(state)[key_of("report", Path("store").absolute())]
    assert isinstance(AS_TASKS.heads, Task)
